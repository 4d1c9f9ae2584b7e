"""The denoising networks in PyTorch, written from their descriptions: a second opinion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


class Reference:
    """Runs a state dict; gradients with respect to `tensors` and input.

    Args:
        tensors: state dict by upstream's keys.
        training: batch normalisation by the batch's own statistics, running ones updated.
    """

    def __init__(self, arch: str, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray],
                 training: bool = False):
        import torch

        self.arch, self.config, self.training = arch, config, training
        self.tensors = {key: torch.tensor(value) for key, value in tensors.items()}
        for key, value in self.tensors.items():
            if value.is_floating_point() and "running" not in key:
                value.requires_grad_()

    def __call__(self, x):
        if self.arch == "n2v-field":
            return self._field(x)
        return self._unet(x) if self.arch == "n2v-unet" else self._rednet(x)

    def _conv(self, key, x, groups=1, stride=1):
        import torch.nn.functional as F

        weight = self.tensors[f"{key}.weight"]
        conv = F.conv2d if weight.ndim == 4 else F.conv3d
        return conv(x, weight, self.tensors[f"{key}.bias"], padding=weight.shape[-1] // 2,
                    groups=groups, stride=stride)

    def _transposed(self, key, x, stride):
        import torch.nn.functional as F

        return F.conv_transpose2d(x, self.tensors[f"{key}.weight"], self.tensors[f"{key}.bias"],
                                  stride=stride, padding=1, output_padding=stride - 1)

    def _unet(self, x):
        import torch
        import torch.nn.functional as F

        pooled = [F.max_pool2d(F.relu(self._conv("_block1.2", F.relu(self._conv("_block1.0", x)))),
                               2)]
        for _ in range(4):
            pooled.append(F.max_pool2d(F.relu(self._conv("_block2.0", pooled[-1])), 2))
        up = self._transposed("_block3.2", F.relu(self._conv("_block3.0", pooled[4])), 2)
        for block, skip in (("_block4", pooled[3]), ("_block5", pooled[2]),
                            ("_block5", pooled[1]), ("_block5", pooled[0])):
            up = F.relu(self._conv(f"{block}.0", torch.cat([up, skip], 1)))
            up = self._transposed(f"{block}.4", F.relu(self._conv(f"{block}.2", up)), 2)
        up = F.relu(self._conv("_block6.0", torch.cat([up, x], 1)))
        return F.leaky_relu(self._conv("_block6.4", F.relu(self._conv("_block6.2", up))), 0.1)

    def _rednet(self, x):
        import torch.nn.functional as F

        layers = {"rednet10": 5, "rednet20": 10, "rednet30": 15}[self.arch]
        kept, h = [], x
        for i in range(layers):
            h = F.relu(self._conv(f"conv_layers.{i}.0", h, stride=1 if i else 2))
            if layers > 5 and i % 2 == 1 and len(kept) < (layers + 1) // 2 - 1:
                kept.append(h)
        for i in range(layers - 1):
            h = F.relu(self._transposed(f"deconv_layers.{i}.0", h, 1))
            if kept and (i + 1 + layers) % 2 == 0:
                h = F.relu(h + kept.pop())
        h = self._transposed(f"deconv_layers.{layers - 1}", h, 2)
        return F.relu(h + x) if self.config.get("residual", True) else h

    def _field(self, x):
        import torch
        import torch.nn.functional as F

        config = self.config
        groups = config["in_channels"] if config["independent_channels"] else 1
        solid = config["conv_dims"] == 3
        deep, skips = x, []
        for i in range(config["depth"]):
            skips.append(self._block(f"encoder.encoder_blocks.{2 * i}", deep, groups))
            if config["n2v2"]:
                deep = self._blur_pool(skips[-1])
            else:
                deep = (F.max_pool3d if solid else F.max_pool2d)(skips[-1], 2)
        deep = self._block("decoder.bottleneck", deep, groups)
        for j in range(config["depth"]):
            deep = F.interpolate(deep, scale_factor=2,
                                 mode="trilinear" if solid else "bilinear")
            skip = skips.pop()
            if skips or not config["n2v2"]:
                pairs = zip(deep.chunk(groups, 1), skip.chunk(groups, 1))
                deep = torch.cat([part for pair in pairs for part in pair], 1)
            deep = self._block(f"decoder.decoder_blocks.{2 * j + 1}", deep, groups)
        out = self._conv("final_conv", deep, groups)
        out = out + x if config["residual"] else out
        last = {None: lambda v: v, "sigmoid": torch.sigmoid, "tanh": torch.tanh,
                "relu": torch.relu, "leakyrelu": F.leaky_relu,
                "softmax": lambda v: torch.softmax(v, 1)}
        return last[config["final_activation"]](out)

    def _block(self, key, x, groups):
        import torch.nn.functional as F

        for i in (1, 2):
            x = self._conv(f"{key}.conv{i}", x, groups)
            if self.config["use_batch_norm"]:
                part = {name: self.tensors[f"{key}.batch_norm{i}.{name}"]
                        for name in ("running_mean", "running_var", "weight", "bias")}
                x = F.batch_norm(x, *part.values(), training=self.training)
            x = F.relu(x)
        return x

    def _blur_pool(self, x):
        import torch
        import torch.nn.functional as F

        line = torch.tensor([0.25, 0.5, 0.25])
        channels = x.shape[1]
        if x.ndim == 5:
            kernel = line[:, None, None] * line[:, None] * line
            return F.conv3d(F.max_pool3d(x, 2, 1), kernel.repeat(channels, 1, 1, 1, 1), stride=2,
                            padding=1, groups=channels)
        return F.conv2d(F.max_pool2d(x, 2, 1), (line[:, None] * line).repeat(channels, 1, 1, 1),
                        stride=2, padding=1, groups=channels)
