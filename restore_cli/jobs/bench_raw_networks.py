"""The RAW denoising networks in plain PyTorch, for `restore bench denoise-raw --against torch`.

Layer by layer as their authors wrote them, with their padding; only layer norms use PyTorch's
own, which is faster. RepNR convolutions compute their effective weight by the short formula.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from restore_cli.nets.led import shapes, shapes_nafnet, shapes_restormer

SLOPE = 0.2
_NAFNET_EPS, _RESTORMER_EPS = 1e-6, 1e-5


class Network:
    """One network over a state_dict of tensors.

    Args:
        arch: "led-unet", "led-nafnet" or "led-restormer".
        config: its configuration.
        tensors: state_dict as float32 arrays, plain or with RepNR parts.
        device: a PyTorch device.
        channels_last: memory format.

    Attributes:
        branch: the alignment that RepNR layers use.
        parameters: all tensors, by key.
    """

    def __init__(self, arch: str, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray],
                 device: str, channels_last: bool = False):
        import torch

        self._torch, self._f = torch, torch.nn.functional
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self.branch = 0
        self.parameters = {}
        for key, value in tensors.items():
            made = torch.from_numpy(np.array(value, np.float32)).to(device)
            if made.ndim == 4:
                made = made.contiguous(memory_format=self._format)
            self.parameters[key] = made
        self._forward, complete = {
            "led-unet": (self._unet, lambda config: shapes.complete("led-unet", config)),
            "led-nafnet": (self._nafnet, shapes_nafnet.complete),
            "led-restormer": (self._restormer, shapes_restormer.complete)}[arch]
        self._config = complete(config)

    def __call__(self, x):
        """(N, 4, H, W) to the same."""
        return self._forward(x.contiguous(memory_format=self._format))

    def _parts(self, key: str):
        held = self.parameters
        main = held.get(f"{key}.main_weight")
        if main is None:
            return held[f"{key}.weight"], held.get(f"{key}.bias")
        weight = main * held[f"{key}.align_weights.{self.branch}"]
        shift = held[f"{key}.align_biases.{self.branch}"]
        bias = main.sum((2, 3)) @ shift.reshape(-1)
        for name in ("main_bias", "aux_bias"):
            if f"{key}.{name}" in held:
                bias = bias + held[f"{key}.{name}"]
        if f"{key}.aux_weight" in held:
            weight = weight + held[f"{key}.aux_weight"]
        return weight, bias

    def _conv(self, x, key: str, stride: int = 1, groups: int = 1):
        weight, bias = self._parts(key)
        padding = weight.shape[-1] // 2 if stride == 1 else 0
        return self._f.conv2d(x, weight, bias, stride=stride, padding=padding, groups=groups)

    def _norm(self, x, key: str, eps: float):
        weight, bias = self.parameters[f"{key}.weight"], self.parameters.get(f"{key}.bias")
        lines = x.permute(0, 2, 3, 1)
        return self._f.layer_norm(lines, weight.shape, weight, bias, eps).permute(0, 3, 1, 2)

    # U-Net (Chen et al., CVPR 2018)

    def _unet(self, x):
        height, width = x.shape[2:]
        rows, columns = -height % shapes.ALIGN, -width % shapes.ALIGN
        top, left = rows // 2, columns // 2
        x = self._f.pad(x, (left, columns - left, top, rows - top), "reflect")
        skips = []
        for level in range(1, shapes.LEVELS + 2):
            if skips:
                x = self._f.max_pool2d(x, 2)
            x = self._pair(x, level)
            skips.append(x)
        skips.pop()
        for level in range(shapes.LEVELS + 2, 2 * shapes.LEVELS + 2):
            up = self._f.conv_transpose2d(x, *self._parts(f"upv{level}"), stride=2)
            x = self._pair(self._torch.cat([up, skips.pop()], 1), level)
        return self._conv(x, "conv10_1")[:, :, top:top + height, left:left + width]

    def _pair(self, x, level: int):
        for index in (1, 2):
            x = self._f.leaky_relu(self._conv(x, f"conv{level}_{index}"), SLOPE)
        return x

    # NAFNet (Chen et al., ECCV 2022)

    def _nafnet(self, x):
        config, (height, width) = self._config, x.shape[2:]
        align = 2 ** len(config["enc_blk_nums"])
        x = self._f.pad(x, (0, -width % align, 0, -height % align))
        y, skips = self._conv(x, "intro"), []
        for level, blocks in enumerate(config["enc_blk_nums"]):
            for block in range(blocks):
                y = self._naf_block(y, f"encoders.{level}.{block}")
            skips.append(y)
            y = self._conv(y, f"downs.{level}.downconv", stride=2)
        for block in range(config["middle_blk_num"]):
            y = self._naf_block(y, f"middle_blks.{block}")
        for step, blocks in enumerate(config["dec_blk_nums"]):
            y = self._f.pixel_shuffle(self._conv(y, f"ups.{step}.upconv"), 2) + skips.pop()
            for block in range(blocks):
                y = self._naf_block(y, f"decoders.{step}.{block}")
        return (x + self._conv(y, "ending"))[:, :, :height, :width]

    def _naf_block(self, x, key: str):
        y = self._conv(self._norm(x, f"{key}.norm1", _NAFNET_EPS), f"{key}.conv1")
        y = self._gate(self._conv(y, f"{key}.dwconv2", groups=y.shape[1]))
        y = y * self._conv(y.mean((2, 3), keepdim=True), f"{key}.sca.1")
        x = x + self._conv(y, f"{key}.conv3") * self.parameters[f"{key}.beta"]
        y = self._conv(self._norm(x, f"{key}.norm2", _NAFNET_EPS), f"{key}.conv4")
        return x + self._conv(self._gate(y), f"{key}.conv5") * self.parameters[f"{key}.gamma"]

    @staticmethod
    def _gate(x):
        first, second = x.chunk(2, 1)
        return first * second

    # Restormer (Zamir et al., CVPR 2022)

    def _restormer(self, x):
        config, (height, width) = self._config, x.shape[2:]
        rows, columns = -height % shapes_restormer.ALIGN, -width % shapes_restormer.ALIGN
        top, left = rows // 2, columns // 2
        x = self._f.pad(x, (left, columns - left, top, rows - top), "reflect")
        y, skips = self._conv(x, "patch_embed.proj"), []
        stages = shapes_restormer.stages(config)
        for level in (1, 2, 3):
            skips.append(self._stage(y, f"encoder_level{level}", stages))
            y = self._f.pixel_unshuffle(
                self._conv(skips[-1], f"down{level}_{level + 1}.body.0"), 2)
        y = self._stage(y, "latent", stages)
        for level in (3, 2, 1):
            up = self._f.pixel_shuffle(self._conv(y, f"up{level + 1}_{level}.body.0"), 2)
            y = self._torch.cat([up, skips.pop()], 1)
            if level > 1:
                y = self._conv(y, f"reduce_chan_level{level}")
            y = self._stage(y, f"decoder_level{level}", stages)
        y = x + self._conv(self._stage(y, "refinement", stages), "output")
        return y[:, :, top:top + height, left:left + width]

    def _stage(self, x, name: str, stages: Mapping[str, tuple[int, int, int]]):
        blocks, _, heads = stages[name]
        for block in range(blocks):
            key = f"{name}.{block}"
            x = x + self._attention(self._norm(x, f"{key}.norm1.body", _RESTORMER_EPS),
                                    f"{key}.attn", heads)
            x = x + self._feed_forward(self._norm(x, f"{key}.norm2.body", _RESTORMER_EPS),
                                       f"{key}.ffn")
        return x

    def _attention(self, x, key: str, heads: int):
        count, channels, height, width = x.shape
        made = self._conv(x, f"{key}.qkv")
        made = self._conv(made, f"{key}.qkv_dwconv", groups=made.shape[1])
        query, keys, value = (part.reshape(count, heads, channels // heads, height * width)
                              for part in made.chunk(3, 1))
        query, keys = self._f.normalize(query, dim=-1), self._f.normalize(keys, dim=-1)
        weights = (query @ keys.transpose(-2, -1)) * self.parameters[f"{key}.temperature"]
        made = (weights.softmax(-1) @ value).reshape(count, channels, height, width)
        return self._conv(made, f"{key}.project_out")

    def _feed_forward(self, x, key: str):
        made = self._conv(x, f"{key}.project_in")
        first, second = self._conv(made, f"{key}.dwconv", groups=made.shape[1]).chunk(2, 1)
        return self._conv(self._f.gelu(first) * second, f"{key}.project_out")
