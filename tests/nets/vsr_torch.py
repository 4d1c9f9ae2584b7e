"""The video network written down once more, in PyTorch, from its description alone.

Any configuration; weights under the same keys. `double` gives a reference of higher precision.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

LEVELS = ("One", "Two", "Thr", "Fou", "Fiv", "Six")
STEPS = {"Two": 5.0, "Thr": 2.5, "Fou": 1.25, "Fiv": 0.625}


class Reference:
    """`tensors` are Torch tensors by key; frames are (N, T, C, H, W)."""

    def __init__(self, tensors, config):
        self.w, self.config = tensors, config
        self.blocks = {part: 1 + max((int(key.split(".")[1]) for key in tensors
                                      if key.startswith(part)), default=-1)
                       for part in ("extra_feat", "recons_net")}
        self.ups = sum(key.startswith("upsample_layers") for key in tensors) // 2

    def conv(self, key, x, **more):
        weight = self.w[f"{key}.weight"]
        more.setdefault("padding", weight.shape[-1] // 2)
        return F.conv2d(x, weight, self.w[f"{key}.bias"], **more)

    def up(self, key, x):
        return F.conv_transpose2d(x, self.w[f"{key}.weight"], self.w[f"{key}.bias"], stride=2,
                                  padding=1)

    def residual(self, part, x):
        for i in range(self.blocks[part]):
            hidden = F.relu(self.conv(f"{part}.{i}.conv1", x))
            x = x + self.conv(f"{part}.{i}.conv2", hidden)
        return x

    def features(self, frame):
        return self.residual("extra_feat", self.conv("in_conv.0", frame))

    def levels(self, x):
        made = []
        for name in LEVELS:
            for place, stride in ((0, 2), (2, 1), (4, 1)):
                key = f"flow_net.moduleNetwork.moduleExtractor.module{name}.{place}"
                x = F.leaky_relu(self.conv(key, x, stride=stride), 0.1)
            made.append(x)
        return made

    def flow(self, first, second):
        height, width = first.shape[2:]
        tall, wide = -(-height // 64) * 64, -(-width // 64) * 64
        first, second = (F.interpolate(x, (tall, wide), mode="bilinear", align_corners=False)
                         for x in (first, second))
        one, two = self.levels(first), self.levels(second)
        flow = features = None
        for level in range(5, 0, -1):
            name = LEVELS[level]
            key = f"flow_net.moduleNetwork.module{name}"
            if flow is None:
                x = F.leaky_relu(correlation(one[level], two[level]), 0.1)
            else:
                flow = self.up(f"{key}.moduleUpflow", flow)
                features = self.up(f"{key}.moduleUpfeat", features)
                moved = sample(two[level], flow * STEPS[name], "zeros")
                cost = F.leaky_relu(correlation(one[level], moved), 0.1)
                x = torch.cat([cost, one[level], flow, features], 1)
            for part in LEVELS[:-1]:
                x = torch.cat([F.leaky_relu(self.conv(f"{key}.module{part}.0", x), 0.1), x], 1)
            flow, features = self.conv(f"{key}.moduleSix.0", x), x
        x = features
        for place, dilation in enumerate((1, 2, 4, 8, 16, 1, 1)):
            x = self.conv(f"flow_net.moduleNetwork.moduleRefiner.moduleMain.{2 * place}", x,
                          padding=dilation, dilation=dilation)
            x = F.leaky_relu(x, 0.1) if place < 6 else x
        flow = F.interpolate(flow + x, (height, width), mode="bilinear", align_corners=False) * 20
        return flow * torch.tensor([width / wide, height / tall], dtype=flow.dtype
                                   ).reshape(1, 2, 1, 1)

    def kernel(self, frames):
        x = self.conv("kernel_net.in_conv", frames.flatten(1, 2))
        x = F.adaptive_avg_pool2d(self.attention("body1", x), self.config["ksize"])
        x = self.attention("body2", x)
        x = self.conv("kernel_net.body2.3", self.conv("kernel_net.body2.2", x)).flatten(1)
        for place in range(2):
            key = f"kernel_net.fc_net.{place}"
            x = F.linear(x, self.w[f"{key}.weight"], self.w[f"{key}.bias"])
        return x.softmax(1).reshape(-1, 1, self.config["ksize"], self.config["ksize"])

    def attention(self, body, x):
        for block in range(2):
            key = f"kernel_net.{body}.{block}.body"
            made = self.conv(f"{key}.2", F.relu(self.conv(f"{key}.0", x)))
            gate = F.relu(self.conv(f"{key}.3.conv_du.0", made.mean((2, 3), keepdim=True)))
            x = x + made * torch.sigmoid(self.conv(f"{key}.3.conv_du.2", gate))
        return x

    def __call__(self, frames):
        centre = frames.shape[1] // 2
        moved = []
        for i in range(frames.shape[1]):
            x = self.features(frames[:, i])
            if i != centre:
                x = sample(x, self.flow(frames[:, centre], frames[:, i]), "border")
            moved.append(x)
        x = self.residual("recons_net", self.conv("fusion_conv.0", torch.cat(moved, 1)))
        for stage in range(self.ups):
            x = F.pixel_shuffle(self.conv(f"upsample_layers.{2 * stage}", x), 2)
        x, base = self.conv("out_conv.1", self.conv("out_conv.0", x)), frames[:, centre]
        if self.ups:
            base = F.interpolate(base, scale_factor=2**self.ups, mode="bilinear",
                                 align_corners=False)
        return x + base


def correlation(first, second):
    height, width = first.shape[2:]
    padded = F.pad(second, (4, 4, 4, 4))
    return torch.cat([(first * padded[:, :, dy:dy + height, dx:dx + width]).mean(1, keepdim=True)
                      for dy in range(9) for dx in range(9)], 1)


def sample(x, flow, padding):
    """By grid_sample, masked where the sample of ones falls short; sides of at least 2."""
    height, width = x.shape[2:]
    column = torch.arange(width, dtype=x.dtype) + flow[:, 0]
    row = torch.arange(height, dtype=x.dtype)[:, None] + flow[:, 1]
    grid = torch.stack([2 * column / (width - 1) - 1, 2 * row / (height - 1) - 1], 3)
    ones = F.grid_sample(torch.ones_like(x[:, :1]), grid, padding_mode="zeros",
                         align_corners=True)
    made = F.grid_sample(x, grid, padding_mode=padding, align_corners=True)
    return made * (ones >= 0.999).to(x.dtype)


def blur_down(x, kernel, scale):
    count, channels, size = *x.shape[:2], kernel.shape[-1]
    x = F.pad(x, (size // 2,) * 4, mode="replicate")
    x = F.conv2d(x.reshape(1, -1, *x.shape[2:]), kernel.repeat_interleave(channels, 0),
                 groups=count * channels)
    return x.reshape(count, channels, *x.shape[2:])[:, :, ::scale, ::scale]
