"""LIIF and MetaSR in plain PyTorch, as published, for `restore bench upscale --against torch`.

The decoder is the plain form of the published code (yinboc/liif): a 3x3 unfolding of the
features, nearest `grid_sample` of 580-vectors, the MLP once for each of four corners, in chunks
of 30000 queries. One thing is done better than there: the unfolded features are made once an
image, not once a chunk.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from restore_cli.errors import UsageError
from restore_cli.jobs import bench_worker

CHUNK = 30000  # upstream's eval_bsize
ENCODERS = ("edsr-baseline", "edsr", "rdn", "rcan")


class Network:
    """The published computation over a state_dict of tensors.

    Args:
        arch: "liif" or "metasr".
        config: complete upstream arguments, the encoder without up-sampling.
        tensors: state_dict as float32 arrays.
        device: a PyTorch device.
        channels_last: memory format of the encoder.
    """

    def __init__(self, arch: str, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray],
                 device: str, channels_last: bool = False):
        import torch

        self._torch, self._f = torch, torch.nn.functional
        self._arch, self._config = arch, config
        self._encoder = config["encoder_spec"]["name"]
        self._args = config["encoder_spec"]["args"]
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self._weights = {key: torch.from_numpy(np.array(value, np.float32)).to(device)
                         for key, value in tensors.items()}
        for key, value in self._weights.items():
            if value.ndim == 4:
                self._weights[key] = value.contiguous(memory_format=self._format)

    def encode(self, x):
        """(N, 3, h, w) in [-1, 1] to features (N, C, h, w), contiguous."""
        x = x.contiguous(memory_format=self._format)
        features = self._rdn(x) if self._encoder == "rdn" else self._residual(x)
        return features.contiguous()

    def render(self, features, size: tuple[int, int]):
        """Features to (N, 3, H, W), chunk by chunk."""
        torch = self._torch
        coord = self._grid(size, features.device).view(1, -1, 2)
        coord = coord.expand(features.shape[0], -1, -1)
        cell = torch.tensor([2 / size[0], 2 / size[1]], device=features.device)
        if self._arch == "metasr" or self._config.get("feat_unfold", True):
            n, channels, h, w = features.shape
            features = self._f.unfold(features, 3, padding=1).view(n, channels * 9, h, w)
        query = self._query_metasr if self._arch == "metasr" else self._query
        parts = [query(features, part, cell.expand_as(part))
                 for part in coord.split(CHUNK, dim=1)]
        return torch.cat(parts, dim=1).view(-1, *size, 3).permute(0, 3, 1, 2)

    def _conv(self, x, key: str):
        weight = self._weights[f"{key}.weight"]
        return self._f.conv2d(x, weight, self._weights[f"{key}.bias"],
                              padding=weight.shape[-1] // 2)

    def _residual(self, x):
        groups = self._args["n_resgroups"] if self._encoder == "rcan" else 0
        x = head = self._conv(x, "encoder.head.0")
        for index in range(groups or self._args["n_resblocks"]):
            key = f"encoder.body.{index}"
            x = self._group(x, key) if groups else self._block(x, key)
        return head + self._conv(x, f"encoder.body.{groups or self._args['n_resblocks']}")

    def _block(self, x, key: str):
        change = self._conv(self._f.relu_(self._conv(x, f"{key}.body.0")), f"{key}.body.2")
        if self._encoder == "rcan":
            gate = self._conv(change.mean((2, 3), keepdim=True), f"{key}.body.3.conv_du.0")
            gate = self._conv(self._f.relu_(gate), f"{key}.body.3.conv_du.2")
            return change * gate.sigmoid_() + x
        return change.mul_(self._args["res_scale"]) + x

    def _group(self, x, key: str):
        start = x
        for index in range(self._args["n_resblocks"]):
            x = self._block(x, f"{key}.body.{index}")
        return self._conv(x, f"{key}.body.{self._args['n_resblocks']}") + start

    def _rdn(self, x):
        torch = self._torch
        shallow = self._conv(x, "encoder.SFENet1")
        x, outputs = self._conv(shallow, "encoder.SFENet2"), []
        for block in itertools.count():
            key = f"encoder.RDBs.{block}"
            if f"{key}.LFF.weight" not in self._weights:
                break
            dense = x
            for layer in itertools.count():
                if f"{key}.convs.{layer}.conv.0.weight" not in self._weights:
                    break
                grown = self._f.relu_(self._conv(dense, f"{key}.convs.{layer}.conv.0"))
                dense = torch.cat([dense, grown], 1)
            x = self._conv(dense, f"{key}.LFF") + x
            outputs.append(x)
        x = self._conv(torch.cat(outputs, 1), "encoder.GFF.0")
        return self._conv(x, "encoder.GFF.1") + shallow

    def _mlp(self, x):
        for index in itertools.count(0, 2):
            x = self._f.linear(x, self._weights[f"imnet.layers.{index}.weight"],
                               self._weights[f"imnet.layers.{index}.bias"])
            if f"imnet.layers.{index + 2}.weight" not in self._weights:
                return x
            x = self._f.relu_(x)

    def _grid(self, size: tuple[int, int], device):
        """Centres of a grid's cells in [-1, 1], (H, W, 2) in order (y, x)."""
        torch = self._torch
        axes = [(2 * torch.arange(n, device=device, dtype=torch.float32) + 1) / n - 1
                for n in size]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)

    def _sample(self, features, coord):
        """Nearest features at (N, Q, 2) coordinates: (N, Q, C)."""
        found = self._f.grid_sample(features, coord.flip(-1).unsqueeze(1), mode="nearest",
                                    align_corners=False)
        return found[:, :, 0].permute(0, 2, 1)

    def _query(self, features, coord, cell):
        torch = self._torch
        sides = torch.tensor(features.shape[2:], device=coord.device, dtype=torch.float32)
        centres = self._grid(tuple(features.shape[2:]), coord.device).permute(2, 0, 1)[None]
        centres = centres.expand(features.shape[0], -1, -1, -1)
        ensemble = self._config.get("local_ensemble", True)
        shifts, epsilon = ((-1, 1), 1e-6) if ensemble else ((0,), 0.0)
        predictions, areas = [], []
        for vy, vx in itertools.product(shifts, shifts):
            moved = coord + torch.tensor([vy, vx], device=coord.device) / sides + epsilon
            moved = moved.clamp_(-1 + 1e-6, 1 - 1e-6)
            offset = (coord - self._sample(centres, moved)) * sides
            inputs = [self._sample(features, moved), offset]
            if self._config.get("cell_decode", True):
                inputs.append(cell * sides)
            predictions.append(self._mlp(torch.cat(inputs, -1)))
            areas.append((offset[..., 0] * offset[..., 1]).abs() + 1e-9)
        total = sum(areas)
        return sum(prediction * (area / total).unsqueeze(-1)
                   for prediction, area in zip(predictions, reversed(areas),
                                                        strict=True))

    def _query_metasr(self, features, coord, cell):
        torch = self._torch
        sides = torch.tensor(features.shape[2:], device=coord.device, dtype=torch.float32)
        corners = self._grid(tuple(features.shape[2:]), coord.device) - 1 / sides
        corners = corners.permute(2, 0, 1)[None].expand(features.shape[0], -1, -1, -1)
        corner = coord - cell / 2
        moved = (corner + 1e-6).clamp_(-1 + 1e-6, 1 - 1e-6)
        offset = (corner - self._sample(corners, moved)) * (sides / 2)
        inputs = torch.cat([offset, cell[..., :1] * (sides[0] / 2)], -1)
        count, queries = coord.shape[:2]
        kernels = self._mlp(inputs.view(count * queries, -1)).view(count * queries, -1, 3)
        found = self._sample(features, moved).reshape(count * queries, 1, -1)
        return torch.bmm(found, kernels).view(count, queries, 3)


class Worker(bench_worker.Worker):
    """A `Network` in a process of its own, called step by step.

    Use as a context manager.

    Args:
        arch, config, tensors: as for `Network`.
        device: "cpu" or "cuda:N".
        threads: CPU threads.

    Raises:
        UsageError: PyTorch is missing, or the architecture has no plain form here.
    """

    def __init__(self, arch: str, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray],
                 device: str, threads: int):
        encoder = (config.get("encoder_spec") or {}).get("name")
        if arch not in ("liif", "metasr") or encoder not in ENCODERS or (
                arch == "liif" and config.get("imnet_spec") is None):
            raise UsageError(f"--against torch covers LIIF and MetaSR, not {arch} with {encoder}")
        super().__init__(_Session, (arch, dict(config), dict(tensors)), device, threads)

    def load(self, image: np.ndarray, size: tuple[int, int]) -> str:
        """Sets the input, (1, 3, h, w) float32 in [-1, 1], and picks the faster memory format.

        Returns:
            "channels_last" or "contiguous".
        """
        return self.ask("load", image, size)

    def run(self, part: str) -> float:
        """Seconds of one run of "encoder", "decoder" or "network"."""
        return self.ask("run", part)

    def file(self, source: Path, target: Path) -> float:
        """Seconds from an 8-bit RGB file to an upscaled one."""
        return self.ask("file", str(source), str(target))

    def outputs(self) -> tuple[np.ndarray, np.ndarray]:
        """Features and output, raw, of the loaded input."""
        return self.ask("outputs")


class _Session(bench_worker.Session):
    def __init__(self, *network):
        super().__init__(network[3])
        self._arguments = network
        self._network = Network(*network)

    def answer(self, name: str, arguments: tuple) -> Any:
        import torch

        with torch.inference_mode():
            return super().answer(name, arguments)

    def load(self, image: np.ndarray, size: tuple[int, int]) -> str:
        import torch

        self._image = torch.from_numpy(image).to(self._device)
        self._size = size
        best = self._faster_format(self._with_format)
        self._with_format(best)
        self._features = self._encode()
        self._decode()
        return "channels_last" if best else "contiguous"

    def _with_format(self, channels_last: bool):
        self._network = Network(*self._arguments, channels_last=channels_last)
        return self._encode

    def run(self, part: str) -> float:
        return self._clock({"encoder": self._encode, "decoder": self._decode,
                            "network": lambda: self._network.render(self._encode(), self._size),
                            }[part])

    def outputs(self) -> tuple[np.ndarray, np.ndarray]:
        return self._features.cpu().numpy(), self._decode().cpu().numpy()

    def file(self, source: str, target: str) -> float:
        return self._clock(lambda: self._convert(source, target))

    def _convert(self, source: str, target: str) -> None:
        import torch
        from PIL import Image

        with Image.open(source) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        image = torch.from_numpy(pixels.copy()).to(self._device).permute(2, 0, 1)[None]
        output = self._network.render(self._network.encode((image.float() / 255 - 0.5) / 0.5),
                                      self._size)
        output = (output * 0.5 + 0.5).clamp_(0, 1).mul_(255).round_().byte()
        Image.fromarray(output[0].permute(1, 2, 0).contiguous().cpu().numpy()).save(target)

    def _encode(self):
        return self._network.encode(self._image)

    def _decode(self):
        return self._network.render(self._features, self._size)
