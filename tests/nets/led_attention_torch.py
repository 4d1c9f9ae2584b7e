"""NAFNet and Restormer in PyTorch, written from their description: a second opinion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from led_torch import Reference as Convolutions


class _Reference(Convolutions):
    """Runs a state dict of completed `config`; gradients with respect to `tensors` and input."""

    def __init__(self, tensors: Mapping[str, np.ndarray], config: Mapping[str, Any],
                 branch: Any = -1, dtype: str = "float64"):
        super().__init__(tensors, branch, dtype)
        self.config = config

    def depthwise(self, key, x):
        import torch.nn.functional as F

        return F.conv2d(x, self.tensors[f"{key}.weight"], self.tensors.get(f"{key}.bias"),
                        padding=1, groups=x.shape[1])

    def stage(self, key, x, count, *more):
        for i in range(count):
            x = self.block(f"{key}.{i}", x, *more)
        return x

    def norm(self, key, x, eps):
        weight, bias = self.tensors[f"{key}.weight"], self.tensors.get(f"{key}.bias")
        scale = (x.var(1, keepdim=True, unbiased=False) + eps).rsqrt() * weight.view(1, -1, 1, 1)
        if bias is None:
            return x * scale
        return (x - x.mean(1, keepdim=True)) * scale + bias.view(1, -1, 1, 1)


class NAFNet(_Reference):
    def block(self, key, x):
        first, second = self.depthwise(
            f"{key}.dwconv2", self.conv(f"{key}.conv1", self.norm(f"{key}.norm1", x, 1e-6))
        ).chunk(2, 1)
        gated = first * second
        gated = gated * self.conv(f"{key}.sca.1", gated.mean((2, 3), keepdim=True))
        x = x + self.conv(f"{key}.conv3", gated) * self.tensors[f"{key}.beta"]
        first, second = self.conv(f"{key}.conv4", self.norm(f"{key}.norm2", x, 1e-6)).chunk(2, 1)
        return x + self.conv(f"{key}.conv5", first * second) * self.tensors[f"{key}.gamma"]

    def __call__(self, x):
        import torch.nn.functional as F

        encoders, decoders = self.config["enc_blk_nums"], self.config["dec_blk_nums"]
        (height, width), align = x.shape[2:], 2 ** len(encoders)
        x = F.pad(x, (0, -width % align, 0, -height % align))
        y, skips = self.conv("intro", x), []
        for level, count in enumerate(encoders):
            skips.append(self.stage(f"encoders.{level}", y, count))
            y = F.conv2d(skips[-1], self.tensors[f"downs.{level}.downconv.weight"],
                         self.tensors[f"downs.{level}.downconv.bias"], stride=2)
        y = self.stage("middle_blks", y, self.config["middle_blk_num"])
        for step, count in enumerate(decoders):
            y = F.pixel_shuffle(self.conv(f"ups.{step}.upconv", y), 2) + skips.pop()
            y = self.stage(f"decoders.{step}", y, count)
        return (x + self.conv("ending", y))[:, :, :height, :width]


class Restormer(_Reference):
    def block(self, key, x, heads):
        import torch
        import torch.nn.functional as F

        count, channels, height, width = x.shape
        made = self.depthwise(f"{key}.attn.qkv_dwconv", self.conv(
            f"{key}.attn.qkv", self.norm(f"{key}.norm1.body", x, 1e-5)))
        query, keys, value = (part.reshape(count, heads, channels // heads, height * width)
                              for part in made.chunk(3, 1))
        scores = F.normalize(query, dim=-1) @ F.normalize(keys, dim=-1).transpose(-2, -1)
        weights = torch.softmax(scores * self.tensors[f"{key}.attn.temperature"], -1)
        x = x + self.conv(f"{key}.attn.project_out", (weights @ value).reshape(x.shape))
        first, second = self.depthwise(f"{key}.ffn.dwconv", self.conv(
            f"{key}.ffn.project_in", self.norm(f"{key}.norm2.body", x, 1e-5))).chunk(2, 1)
        return x + self.conv(f"{key}.ffn.project_out", F.gelu(first) * second)

    def __call__(self, x):
        import torch
        import torch.nn.functional as F

        (height, width), blocks = x.shape[2:], self.config["num_blocks"]
        heads = self.config["heads"]
        top, left = (-side % 8 // 2 for side in (height, width))
        x = F.pad(x, (left, -width % 8 - left, top, -height % 8 - top), mode="reflect")
        y, skips = self.conv("patch_embed.proj", x), []
        for i in range(3):
            skips.append(self.stage(f"encoder_level{i + 1}", y, blocks[i], heads[i]))
            y = F.pixel_unshuffle(self.conv(f"down{i + 1}_{i + 2}.body.0", skips[-1]), 2)
        y = self.stage("latent", y, blocks[3], heads[3])
        for i in (2, 1, 0):
            up = F.pixel_shuffle(self.conv(f"up{i + 2}_{i + 1}.body.0", y), 2)
            y = torch.cat([up, skips.pop()], 1)
            y = self.conv(f"reduce_chan_level{i + 1}", y) if i else y
            y = self.stage(f"decoder_level{i + 1}", y, blocks[i], heads[i])
        y = self.stage("refinement", y, self.config["num_refinement_blocks"], heads[0])
        return (x + self.conv("output", y))[:, :, top:top + height, left:left + width]
