"""The denoising networks in plain PyTorch, for `restore bench denoise --against torch`.

Networks as their authors wrote them, layer by layer; training as the blind-spot trainer does it:
the same batches (drawn, turned and masked by the same NumPy code), masked mean squared error,
`torch.optim.Adam`. Networks and batches have whichever memory format is faster here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from restore_cli.errors import UsageError
from restore_cli.jobs import bench_worker
from restore_cli.nets.n2v import shapes
from restore_cli.training.datasets.denoising import turn
from restore_cli.training.degradations.blindspot import Masked, Masking, manipulate

Subjects = Mapping[str, tuple[str, Mapping[str, Any], Mapping[str, np.ndarray]]]


class Network:
    """One network over a state_dict of tensors.

    Args:
        arch: of `nets.n2v.shapes.NAMES`.
        config: its configuration; 2-D.
        tensors: state_dict as float32 arrays.
        device: a PyTorch device.
        channels_last: memory format.

    Raises:
        UsageError: a form that is not written out here.
    """

    def __init__(self, arch: str, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray],
                 device: str, channels_last: bool = False):
        import torch

        self._torch, self._f = torch, torch.nn.functional
        self._arch, self._config = arch, shapes.complete(arch, config)
        facts = shapes.describe(arch, config)
        if facts.dims != 2:
            raise UsageError("--against torch covers images, not volumes")
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self._weights = {}
        for key, value in tensors.items():
            made = torch.from_numpy(np.array(value, np.float32)).to(device)
            if made.ndim == 4:
                made = made.contiguous(memory_format=self._format)
            self._weights[key] = made
        self.parameters = [value for key, value in self._weights.items()
                           if key not in facts.unused | facts.buffers]
        self._forward = (self._field if arch == "n2v-field" else
                         self._unet if arch == "n2v-unet" else self._rednet)

    def train(self) -> None:
        """Makes the parameters record gradients."""
        for value in self.parameters:
            value.requires_grad_(True)

    def __call__(self, x):
        """(N, C, H, W) with sides of the network's multiple to the same."""
        return self._forward(x.contiguous(memory_format=self._format))

    def _conv(self, x, key: str, stride: int = 1, groups: int = 1):
        weight = self._weights[f"{key}.weight"]
        return self._f.conv2d(x, weight, self._weights[f"{key}.bias"], stride=stride,
                              padding=weight.shape[-1] // 2, groups=groups)

    def _relu(self, x, key: str, stride: int = 1):
        return self._f.relu(self._conv(x, key, stride))

    def _up(self, x, key: str, stride: int = 2):
        return self._f.conv_transpose2d(x, self._weights[f"{key}.weight"],
                                        self._weights[f"{key}.bias"], stride=stride, padding=1,
                                        output_padding=stride - 1)

    def _unet(self, x):
        pool = self._f.max_pool2d
        skips = [x, pool(self._relu(self._relu(x, "_block1.0"), "_block1.2"), 2)]
        for _ in range(shapes.UNET_LEVELS - 1):
            skips.append(pool(self._relu(skips[-1], "_block2.0"), 2))
        up = self._up(self._relu(skips.pop(), "_block3.0"), "_block3.2")
        for key in ("_block4", *("_block5",) * (shapes.UNET_LEVELS - 2)):
            up = self._relu(self._torch.cat([up, skips.pop()], 1), f"{key}.0")
            up = self._up(self._relu(up, f"{key}.2"), f"{key}.4")
        up = self._relu(self._torch.cat([up, skips.pop()], 1), "_block6.0")
        return self._f.leaky_relu(self._conv(self._relu(up, "_block6.2"), "_block6.4"), 0.1)

    def _rednet(self, x):
        layers, skips = self._config["num_layers"], []
        most = math.ceil(layers / 2) - 1 if layers > shapes.REDNET_LAYERS["rednet10"] else 0
        found = x
        for index in range(layers):
            found = self._relu(found, f"conv_layers.{index}.0", 1 if index else 2)
            if index % 2 and len(skips) < most:
                skips.append(found)
        for index in range(layers - 1):
            found = self._f.relu(self._up(found, f"deconv_layers.{index}.0", 1))
            if (index + 1 + layers) % 2 == 0 and skips:
                found = self._f.relu(found + skips.pop())
        found = self._up(found, f"deconv_layers.{layers - 1}")
        return self._f.relu(found + x) if self._config["residual"] else found

    def _field(self, x):
        config, depth = self._config, self._config["depth"]
        start, skips = x, []
        for level in range(depth):
            skips.append(self._block(x, f"encoder.encoder_blocks.{2 * level}"))
            x = self._blur_pool(skips[-1]) if config["n2v2"] else self._f.max_pool2d(skips[-1], 2)
        x = self._block(x, "decoder.bottleneck")
        for level in range(depth):
            x = self._f.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            if not (config["n2v2"] and level == depth - 1):
                x = self._interleave(x, skips[-1 - level])
            x = self._block(x, f"decoder.decoder_blocks.{2 * level + 1}")
        x = self._conv(x, "final_conv", groups=shapes.groups(config))
        x = x + start if config["residual"] else x
        activation = config["final_activation"]
        if activation == "softmax":
            return x.softmax(1)
        named = {None: lambda value: value, "sigmoid": self._torch.sigmoid,
                 "tanh": self._torch.tanh, "relu": self._f.relu, "leakyrelu": self._f.leaky_relu}
        return named[activation](x)

    def _block(self, x, key: str):
        for index in (1, 2):
            x = self._conv(x, f"{key}.conv{index}", groups=shapes.groups(self._config))
            if self._config["use_batch_norm"]:
                norm = [self._weights[f"{key}.batch_norm{index}.{part}"]
                        for part in ("running_mean", "running_var", "weight", "bias")]
                x = self._f.batch_norm(x, *norm)
            x = self._f.relu(x)
        return x

    def _blur_pool(self, x):
        channels = x.shape[1]
        line = self._torch.tensor([1.0, 2.0, 1.0], device=x.device) / 4
        kernel = (line[:, None] * line).expand(channels, 1, 3, 3)
        return self._f.conv2d(self._f.max_pool2d(x, 2, 1), kernel, stride=2, padding=1,
                              groups=channels)

    def _interleave(self, x, skip):
        groups = shapes.groups(self._config)
        if groups == 1:
            return self._torch.cat([x, skip], 1)
        parts = zip(x.chunk(groups, 1), skip.chunk(groups, 1), strict=True)
        return self._torch.cat([part for pair in parts for part in pair], 1)


class Crops:
    """Random parts of one image; a `training.fit.PatchSource` for both sides.

    Args:
        image: (C, H, W) float32, normalised.
    """

    def __init__(self, image: np.ndarray):
        self.image, self.channels = image, len(image)

    def patch(self, shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
        """(C, *shape) from anywhere in the image, which is no smaller."""
        y, x = (int(rng.integers(length - side + 1))
                for length, side in zip(self.image.shape[1:], shape, strict=True))
        return self.image[:, y:y + shape[0], x:x + shape[1]]


@dataclass(frozen=True)
class Training:
    """Training steps that both sides make.

    Attributes:
        batch, patch: patches a step, and their side.
        rates: learning rate of each step.
    """

    batch: int
    patch: int
    rates: tuple[float, ...]

    def draw(self, source: Crops, step: int) -> Masked:
        """The batch of a step as `training.fit.draw` makes it from seed 0."""
        rng = np.random.default_rng([0, step])
        patches = [turn(source.patch((self.patch, self.patch), rng), "all", rng)
                   for _ in range(self.batch)]
        return manipulate(np.stack(patches), Masking(), rng)


class Worker(bench_worker.NetworkWorker):
    """The networks in a process of their own, called step by step.

    Use as a context manager.

    Args:
        subjects: (arch, config, tensors) by name.
        training: what one timed training is.
        weights: files of the tensors, which turning a file into another begins with.
        device: "cpu" or "cuda:N".
        threads: CPU threads.

    Raises:
        UsageError: PyTorch is missing, or a network has no plain form here.
    """

    def __init__(self, subjects: Subjects, training: Training, weights: Mapping[str, Path],
                 device: str, threads: int):
        super().__init__(_Session, (dict(subjects), training, dict(weights)), device, threads)

    def load(self, image: np.ndarray, padded: Mapping[str, np.ndarray]) -> dict[str, str]:
        """Sets what is trained on, (C, H, W), and predicted by network, (1, C, H, W).

        Returns:
            The faster memory formats by network, for training and for prediction.
        """
        return self.ask("load", image, dict(padded))


class _Session(bench_worker.Session):
    def __init__(self, subjects: Subjects, training: Training, weights: dict[str, Path],
                 device: str):
        super().__init__(device)
        self._subjects, self._training, self._weights = subjects, training, weights
        self._last: dict[str, bool] = {}
        self._predicting: dict[str, Network] = {}
        self._trained: dict[str, _Trained] = {}

    def load(self, image: np.ndarray, padded: Mapping[str, np.ndarray]) -> dict[str, str]:
        import torch

        self._source = Crops(image)
        self._inputs = {name: torch.from_numpy(array).to(self._device)
                        for name, array in padded.items()}
        names = {False: "contiguous", True: "channels_last"}
        found = {}
        for name in self._subjects:
            train = self._faster_format(lambda last, name=name: self._fresh(name, last))
            self._fresh(name, train)
            predict = self._faster_format(lambda last, name=name: self._predictor(name, last))
            self._predictor(name, predict)
            self._last[name] = predict
            found[name] = f"{names[train]} in training, {names[predict]} in prediction"
        return found

    def _fresh(self, name: str, channels_last: bool):
        network = Network(*self._subjects[name], self._device, channels_last)
        self._trained[name] = made = _Trained(network, self._device)
        return lambda: made.run(self._source, self._training)

    def _predictor(self, name: str, channels_last: bool):
        self._predicting[name] = Network(*self._subjects[name], self._device, channels_last)
        return lambda: self._predict(name, self._inputs[name])

    def _predict(self, name: str, x):
        import torch

        with torch.inference_mode():
            return self._predicting[name](x)

    def run(self, network: str, part: str) -> float:
        if part == "train":
            return self._clock(
                lambda: self._trained[network].run(self._source, self._training))
        return self._clock(lambda: self._predict(network, self._inputs[network]))

    def outputs(self, network: str) -> np.ndarray:
        return self._predict(network, self._inputs[network]).cpu().numpy()

    def losses(self, network: str) -> list[float]:
        made = _Trained(Network(*self._subjects[network], self._device), self._device)
        return made.run(self._source, self._training)

    def file(self, network: str, source: str, target: str) -> float:
        return self._clock(lambda: self._convert(network, source, target))

    def _convert(self, network: str, source: str, target: str) -> None:
        import torch
        from PIL import Image
        from safetensors.numpy import load_file

        ready = Network(*self._subjects[network][:2], load_file(self._weights[network]),
                        self._device, self._last[network])
        with Image.open(source) as picture:
            pixels = np.asarray(picture)
        values = torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1).copy())
        x = values.to(self._device).permute(2, 0, 1)[None].float()
        mean, std = x.mean((2, 3), keepdim=True), x.std((2, 3), keepdim=True)
        (height, width), align = x.shape[2:], shapes.describe(*self._subjects[network][:2]).align
        x = torch.nn.functional.pad((x - mean) / std, (0, -width % align, 0, -height % align),
                                    "reflect")
        with torch.inference_mode():
            made = ready(x)[:, :, :height, :width] * std + mean
            made = made.clamp_(0, 255).round_().byte()[0].permute(1, 2, 0).cpu().numpy()
        Image.fromarray(made.squeeze() if made.shape[2] == 1 else made).save(target)


class _Trained:
    """A network with its optimiser."""

    def __init__(self, network: Network, device: str):
        import torch

        network.train()
        self._network, self._device = network, device
        self._adam = torch.optim.Adam(network.parameters)

    def run(self, source: Crops, training: Training) -> list[float]:
        """Makes all steps; their losses."""
        return [self._step(training.draw(source, step), rate)
                for step, rate in enumerate(training.rates)]

    def _step(self, batch: Masked, rate: float) -> float:
        import torch

        x, target, mask = (torch.from_numpy(part).to(self._device)
                           for part in (batch.inputs, batch.targets, batch.mask))
        for group in self._adam.param_groups:
            group["lr"] = rate
        self._adam.zero_grad()
        error = self._network(x) - target
        loss = (error * error * mask).sum() / mask.sum()
        loss.backward()
        self._adam.step()
        return loss.item()
