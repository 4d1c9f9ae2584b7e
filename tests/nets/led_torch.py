"""The U-Nets for RAW planes in PyTorch, written from their description: a second opinion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


class Reference:
    """Runs a state dict; gradients with respect to `tensors` and input.

    Args:
        tensors: state dict by upstream's keys.
        branch: of RepNR layers, or "mean".
        dtype: of the computation.
    """

    def __init__(self, tensors: Mapping[str, np.ndarray], branch: Any = -1, dtype: str = "float32"):
        import torch

        self.dtype, self.branch = getattr(torch, dtype), branch
        self.tensors = {key: torch.tensor(value).to(self.dtype).requires_grad_()
                        for key, value in tensors.items()}

    def __call__(self, x, ratio=None):
        import torch
        import torch.nn.functional as F

        height, width = x.shape[-2:]
        (top, bottom), (left, right) = ((-side % 16 // 2, -side % 16 - -side % 16 // 2)
                                        for side in (height, width))
        x = F.pad(x, (left, right, top, bottom), mode="reflect")
        control = None if ratio is None else self._control(ratio, x.shape[2] // 4, x.shape[3] // 4)
        skips = []
        for level in range(1, 6):
            if skips:
                x = F.max_pool2d(x, 2)
            x, skip = self._level(level, x, control)
            skips.append(skip)
        skips.pop()
        for level in range(6, 10):
            up = F.conv_transpose2d(x, self.tensors[f"upv{level}.weight"],
                                    self.tensors[f"upv{level}.bias"], stride=2)
            x, _ = self._level(level, torch.cat([up, skips.pop()], 1), control)
        x = self.conv("conv10_1", x)
        return x[:, :, top:top + height, left:left + width]

    def _level(self, level, x, control):
        x = self._lrelu(self.conv(f"conv{level}_1", x))
        key = f"conv{level}_2"
        if control is None or level not in (3, 4, 6, 7):
            x = self._lrelu(self.conv(key, x))
            return x, x
        added = x + control if level == 3 else x
        x = self._lrelu(self.conv(f"{key}.conv2", self._lrelu(self.conv(f"{key}.conv1", x)))
                        + added)
        return x, added if level == 3 else x

    def _control(self, ratio, height, width):
        import torch
        import torch.nn.functional as F

        ratio = F.interpolate(ratio, size=(128, 128), mode="bilinear")
        k = torch.arange(300, dtype=self.dtype).reshape(1, -1, 1, 1)
        bins = torch.exp(-(k - ratio) ** 2 / 1800) / (np.sqrt(2 * np.pi) * 30) / ratio
        x = F.interpolate(bins, size=(height, width), mode="bilinear").permute(0, 2, 3, 1)
        for key in ("conv0_1", "conv0_2"):
            x = F.linear(x, self.tensors[f"{key}.weight"], self.tensors[f"{key}.bias"])
        return x.permute(0, 3, 1, 2)

    @staticmethod
    def _lrelu(x):
        import torch

        return torch.max(0.2 * x, x)

    def conv(self, key, x):
        """The convolution `key`, plain or RepNR, zero-padded."""
        import torch.nn.functional as F

        weight, bias = self.parts(key)
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)

    def parts(self, key):
        """Effective weight and bias of `key`, upstream's way: the kernel is aligned whole."""
        own = {name.removeprefix(f"{key}."): value for name, value in self.tensors.items()
               if name.startswith(f"{key}.")}
        if "weight" in own:
            return own["weight"], own.get("bias")
        scales, shifts = ([value for name, value in own.items() if name.startswith(part)]
                          for part in ("align_weights", "align_biases"))
        if self.branch == "mean":
            scale, shift = (sum(parts[:-1]) / (len(parts) - 1) for parts in (scales, shifts))
        else:
            scale, shift = scales[self.branch], shifts[self.branch]
        weight, bias = own["main_weight"] * scale, (own["main_weight"] * shift).sum((1, 2, 3))
        for name in ("main_bias", "aux_bias"):
            bias = bias + own.get(name, 0)
        return weight + own.get("aux_weight", 0), bias
