"""What PyTorch does of `restore bench vsr`, in a process of its own.

`plain` is the network as published: every output frame finds the features of its five frames
again, both pyramids of each pair, the blur kernel that nothing reads, and all layers of the tail.
`rewritten` has the exact savings of `jobs.vsr_stream`: what depends on one frame is kept, the pairs
go through the flow network together, the kernel is left out and the tail is composed.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from restore_cli.jobs import bench_worker
from restore_cli.nets.vsr import shapes

FORMS = {"network": "plain", "engine": "rewritten"}
"""Which form a part is compared with."""

_STEPS = {"Two": 5.0, "Thr": 2.5, "Fou": 1.25, "Fiv": 0.625}
_FLOW = "flow_net.moduleNetwork"

Tail = Mapping[tuple[int, int], tuple[np.ndarray, np.ndarray]]
"""Composed weights by row and column: first (-1), inside (0), last (1)."""


@dataclass(frozen=True)
class Work:
    """One network and a window of frames.

    Attributes:
        config, tensors: of the network.
        frames: (5, 3, H, W) float32, 0 to 1.
        tail: for the rewritten form.
    """

    config: Mapping[str, Any]
    tensors: Mapping[str, np.ndarray]
    frames: np.ndarray
    tail: Tail


class Network:
    """Both forms, without gradients; `scale` is the magnification.

    Args:
        work: the network.
        device: "cpu" or "cuda:N".
        channels_last: memory format.
    """

    def __init__(self, work: Work, device: str, channels_last: bool):
        import torch
        from torch.nn import functional

        self._torch, self._f, self._device = torch, functional, device
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self._w = {key: self.array(value) for key, value in work.tensors.items()}
        self._tail = {at: tuple(map(self.array, pair)) for at, pair in work.tail.items()}
        self._config, self.scale = work.config, work.config["scale"]
        self._length = work.config["n_sequence"]

    def array(self, value: np.ndarray):
        """On the device, maps in the chosen format."""
        made = self._torch.from_numpy(np.ascontiguousarray(value)).to(self._device)
        return made.contiguous(memory_format=self._format) if made.ndim == 4 else made

    def plain(self, frames):
        """(5, 3, H, W) to (1, 3, 4 H, 4 W), as published."""
        ones = [frames[i:i + 1] for i in range(self._length)]
        middle = ones[self._length // 2]
        moved = []
        for frame in ones:
            x = self.features(frame)
            if frame is not middle:
                x = self._sample(x, self._flow(self.levels(middle), self.levels(frame),
                                               frame.shape[2:]), "border")
            moved.append(x)
        self._kernel(frames)
        x = self._blocks("recons_net", self._conv("fusion_conv.0", self._torch.cat(moved, 1)))
        for stage in range(shapes.stages(self._config)):
            x = self._f.pixel_shuffle(self._conv(f"upsample_layers.{2 * stage}", x), 2)
        return self._conv("out_conv.1", self._conv("out_conv.0", x)) + self._base(middle)

    def rewritten(self, kept: Sequence[tuple], frames):
        """The same, from features and levels of all frames but the last."""
        kept = [*kept, self.examine(frames[-1:])]
        centre = self._length // 2
        others = [i for i in range(self._length) if i != centre]
        first = [level.expand(len(others), -1, -1, -1) for level in kept[centre][1]]
        second = [self._torch.cat(level) for level in zip(*(kept[i][1] for i in others),
                                                          strict=True)]
        flows = self._flow(first, second, frames.shape[2:])
        moved = [kept[centre][0] if i == centre else
                 self._sample(kept[i][0], flows[others.index(i)][None], "border")
                 for i in range(self._length)]
        x = self._blocks("recons_net", self._conv("fusion_conv.0", self._torch.cat(moved, 1)))
        return self._composed(x) + self._base(frames[centre:centre + 1])

    def examine(self, frame) -> tuple:
        """What `rewritten` keeps of a frame."""
        return self.features(frame), self.levels(frame)

    def features(self, frame):
        """Features (1, C, H, W)."""
        return self._blocks("extra_feat", self._conv("in_conv.0", frame))

    def levels(self, x) -> list:
        """The flow network's pyramid, finest first."""
        x = self._f.interpolate(x, [-(-side // 64) * 64 for side in x.shape[2:]],
                                mode="bilinear", align_corners=False)
        made = []
        for name in shapes.LEVELS:
            for place, stride in ((0, 2), (2, 1), (4, 1)):
                x = self._leaky(self._conv(f"{_FLOW}.moduleExtractor.module{name}.{place}", x,
                                           stride=stride))
            made.append(x)
        return made

    def _flow(self, one, two, size):
        flow = features = None
        for level in range(len(shapes.LEVELS) - 1, shapes.FIRST - 1, -1):
            name = shapes.LEVELS[level]
            key = f"{_FLOW}.module{name}"
            if flow is None:
                x = self._leaky(self._correlation(one[level], two[level]))
            else:
                flow, features = (self._up(f"{key}.{part}", value) for part, value in (
                    ("moduleUpflow", flow), ("moduleUpfeat", features)))
                moved = self._sample(two[level], flow * _STEPS[name], "zeros")
                x = self._torch.cat([self._leaky(self._correlation(one[level], moved)),
                                     one[level], flow, features], 1)
            for part in shapes.LEVELS[:-1]:
                x = self._torch.cat([self._leaky(self._conv(f"{key}.module{part}.0", x)), x], 1)
            flow, features = self._conv(f"{key}.moduleSix.0", x), x
        for place, dilation in enumerate(shapes.DILATIONS):
            x = self._conv(f"{_FLOW}.moduleRefiner.moduleMain.{2 * place}", x, padding=dilation,
                           dilation=dilation)
            x = self._leaky(x) if place + 1 < len(shapes.DILATIONS) else x
        flow = self._f.interpolate(flow + x, tuple(size), mode="bilinear", align_corners=False)
        ratio = [20 * side / (-(-side // 64) * 64) for side in (size[1], size[0])]
        return flow * self._torch.tensor(ratio, device=self._device).reshape(1, 2, 1, 1)

    def _kernel(self, frames):
        size = self._config["ksize"]
        x = self._conv("kernel_net.in_conv", frames.reshape(1, -1, *frames.shape[2:]))
        x = self._f.adaptive_avg_pool2d(self._attention("body1", x), size)
        x = self._attention("body2", x)
        x = self._conv("kernel_net.body2.3", self._conv("kernel_net.body2.2", x)).flatten(1)
        for place in range(2):
            key = f"kernel_net.fc_net.{place}"
            x = self._f.linear(x, self._w[f"{key}.weight"], self._w[f"{key}.bias"])
        return x.softmax(1).reshape(-1, 1, size, size)

    def _attention(self, body: str, x):
        for block in range(shapes.BLOCKS):
            key = f"kernel_net.{body}.{block}.body"
            made = self._conv(f"{key}.2", self._f.relu_(self._conv(f"{key}.0", x)))
            gate = self._f.relu_(self._conv(f"{key}.3.conv_du.0", made.mean((2, 3), keepdim=True)))
            x = x + made * self._conv(f"{key}.3.conv_du.2", gate).sigmoid_()
        return x

    def _composed(self, x):
        """The composed tail, with its own convolutions along the borders."""
        made = self._f.conv2d(x, *self._tail[0, 0], padding=2)
        ends = ((-1, 0), (1, -1))  # a side, and the index of its pixels
        for row, y in ends:
            made[:, :, y] = self._f.conv2d(self._end(x, row, 2), *self._tail[row, 0],
                                           padding=(0, 2))[:, :, 0]
        for column, x_at in ends:
            near = self._end(x, column, 3)
            made[..., x_at] = self._f.conv2d(near, *self._tail[0, column], padding=(2, 0))[..., 0]
            for row, y in ends:
                made[:, :, y, x_at] = self._f.conv2d(self._end(near, row, 2),
                                                     *self._tail[row, column])[:, :, 0, 0]
        return self._f.pixel_shuffle(made, self.scale)

    @staticmethod
    def _end(x, side: int, axis: int):
        return x.narrow(axis, 0 if side < 0 else x.shape[axis] - 3, 3)

    def _base(self, frame):
        return self._f.interpolate(frame, scale_factor=self.scale, mode="bilinear",
                                   align_corners=False)

    def _conv(self, key: str, x, **more):
        weight = self._w[f"{key}.weight"]
        more.setdefault("padding", weight.shape[-1] // 2)
        return self._f.conv2d(x, weight, self._w[f"{key}.bias"], **more)

    def _up(self, key: str, x):
        return self._f.conv_transpose2d(x, self._w[f"{key}.weight"], self._w[f"{key}.bias"],
                                        stride=2, padding=1)

    def _leaky(self, x):
        return self._f.leaky_relu_(x, 0.1)

    def _blocks(self, part: str, x):
        count = self._config["extra_RBS" if part == "extra_feat" else "recons_RBS"]
        for i in range(count):
            hidden = self._f.relu_(self._conv(f"{part}.{i}.conv1", x))
            x = self._conv(f"{part}.{i}.conv2", hidden).add_(x)
        return x

    def _correlation(self, first, second):
        height, width = first.shape[2:]
        around = self._f.pad(second, (4, 4, 4, 4))
        return self._torch.cat([
            (first * around[:, :, dy:dy + height, dx:dx + width]).mean(1, keepdim=True)
            for dy in range(9) for dx in range(9)], 1)

    def _sample(self, x, flow, padding: str):
        height, width = x.shape[2:]
        torch = self._torch
        column = torch.arange(width, device=self._device) + flow[:, 0]
        row = torch.arange(height, device=self._device)[:, None] + flow[:, 1]
        grid = torch.stack([2 * column / max(width - 1, 1) - 1, 2 * row / max(height - 1, 1) - 1],
                           3)
        ones = self._f.grid_sample(torch.ones_like(x[:, :1]), grid, padding_mode="zeros",
                                   align_corners=True)
        made = self._f.grid_sample(x, grid, padding_mode=padding, align_corners=True)
        return made * (ones >= 0.999).to(x.dtype)


class Worker(bench_worker.NetworkWorker):
    """The networks in a process of their own, called step by step.

    Use as a context manager.

    Args:
        work: by name of a network.
        device: "cpu" or "cuda:N".
        threads: CPU threads.

    Raises:
        UsageError: PyTorch is missing.
    """

    def __init__(self, work: Mapping[str, Work], device: str, threads: int):
        super().__init__(_Session, (dict(work),), device, threads)

    def load(self, names: Sequence[tuple[str, str]]) -> dict[str, str]:
        """Chooses the faster memory format for each (network, part) that will be timed.

        Returns:
            "channels_last" or "contiguous" by "network part"; a film has that of "network".
        """
        return self.ask("load", list(names))

    def output(self, network: str, part: str) -> np.ndarray:
        """(1, 3, 4 H, 4 W) of "network" or "engine"."""
        return self.ask("output", network, part)


class _Session(bench_worker.Session):
    def __init__(self, work: dict[str, Work], device: str):
        super().__init__(device)
        self._work = work
        self._made: dict[tuple[str, str], Network] = {}
        self._ready: dict[tuple[str, str], tuple] = {}

    def answer(self, name: str, arguments: tuple) -> Any:
        import torch

        with torch.inference_mode():
            return super().answer(name, arguments)

    def load(self, names: list[tuple[str, str]]) -> dict[str, str]:
        found = {}
        for name, part in names:
            at = name, "network" if part == "pipeline" else part
            if at not in self._made:
                best = self._faster_format(lambda last, at=at: self._prepare(at, last))
                self._prepare(at, best)
                found[" ".join(at)] = "channels_last" if best else "contiguous"
        return found

    def _prepare(self, at: tuple[str, str], channels_last: bool):
        work = self._work[at[0]]
        self._made[at] = network = Network(work, self._device, channels_last)
        frames = network.array(work.frames)
        if FORMS[at[1]] == "plain":
            self._ready[at] = (frames,)
        else:
            self._ready[at] = ([network.examine(frames[i:i + 1])
                                for i in range(len(frames) - 1)], frames)
        return lambda: self._compute(at)

    def _compute(self, at: tuple[str, str]):
        return getattr(self._made[at], FORMS[at[1]])(*self._ready[at])

    def run(self, network: str, part: str) -> float:
        return self._clock(lambda: self._compute((network, part)))

    def output(self, network: str, part: str) -> np.ndarray:
        return self._compute((network, part)).cpu().numpy()

    def file(self, network: str, source: str, target: str) -> float:
        return self._clock(lambda: self._convert(self._made[network, "network"], source, target))

    def _convert(self, network: Network, source: str, target: str) -> None:
        """A film as a short script enlarges it: all frames first, then one window at a time."""
        import av

        from restore_cli.media.video_ffmpeg import executable

        with av.open(source) as film:
            rate = film.streams.video[0].average_rate
            frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
        half = len(next(iter(self._work.values())).frames) // 2
        frames = [*frames[:half], *frames, *frames[-half:]]
        height, width = (network.scale * side for side in frames[0].shape[:2])
        command = [executable(), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s",
                   f"{width}x{height}", "-r", str(rate), "-i", "-", "-c:v", "libx264", "-crf",
                   "16", "-pix_fmt", "yuv420p", target]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as encoder:
            for i in range(len(frames) - 2 * half):
                window = np.stack(frames[i:i + 2 * half + 1]).transpose(0, 3, 1, 2)
                made = network.plain(network.array(window.astype(np.float32) / 255))
                made = (made * 255).clamp_(0, 255).round_().byte()[0].permute(1, 2, 0)
                encoder.stdin.write(made.contiguous().cpu().numpy().tobytes())
