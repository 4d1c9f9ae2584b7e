"""Networks of `restore denoise-raw`: where they come from, which cameras and ratios they know."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from restore_cli.console import Console
from restore_cli.errors import WeightsError
from restore_cli.jobs import networks
from restore_cli.jobs.denoise_raw_ratio import Span
from restore_cli.nets.layout import Layout, layout
from restore_cli.nets.led import shapes
from restore_cli.weights.files import Weights

TASK = "denoise-raw"
ANY = "any"

# What published weights call a camera, and what the camera calls itself.
_ALIASES = {"sonya7s2": "sonyilce7sm2", "sonya7m4": "sonyilce7m4"}


@dataclass(frozen=True)
class Knowledge:
    """What weights were trained for.

    Attributes:
        cameras: "Make Model" names; ("any",) for weights of no camera in particular; empty where
            the file does not say.
        ratios: amplifications.
    """

    cameras: tuple[str, ...] = ()
    ratios: Span = Span()

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> Knowledge:
        """What a weight file's metadata say (`cameras` and `ratios`, JSON lists).

        Raises:
            WeightsError: they make no sense.
        """
        try:
            cameras = json.loads(metadata.get("cameras", "[]"))
            low, high = map(float, json.loads(metadata.get("ratios", "[1, 300]")))
            sound = (isinstance(cameras, list) and all(isinstance(one, str) for one in cameras)
                     and 1 <= low <= high < float("inf"))
        except (ValueError, TypeError):
            sound = False
        if not sound:
            raise WeightsError("the cameras or ratios that the weights are said to know make no "
                               "sense")
        return cls(tuple(cameras), Span(low, high))

    def knows(self, make: str | None, model: str | None) -> bool:
        """Whether the weights were made for a camera."""
        if ANY in self.cameras:
            return True
        asked = {_plain(f"{make or ''} {model or ''}"), _plain(model or "")}
        return any(_plain(one) in asked for one in self.cameras)

    def __str__(self) -> str:
        if not self.cameras:
            names = "cameras that the file does not name"
        elif ANY in self.cameras:
            names = "any camera"
        else:
            names = ", ".join(self.cameras)
        return f"for {names}, ratios {self.ratios}"


@dataclass
class Loaded:
    """A network ready to run.

    Attributes:
        name: for messages and for the note in the result.
        arch, config: as the registry built it.
        network: Jittor module from (N, 4, h, w) to the same.
        layout: its facts.
        knowledge: what it was trained for.
        device: what it computes on, "cpu" or "cuda:N".
    """

    name: str
    arch: str
    config: dict[str, Any]
    network: Any
    layout: Layout
    knowledge: Knowledge
    device: str = "cpu"

    @property
    def fused(self) -> bool:
        """Whether the network runs as one CPU operator."""
        if self.arch != "led-unet" or self.device != "cpu":
            return False
        from restore_cli.nets.ops import led_unet

        return led_unet.usable(shapes.complete(self.arch, self.config))

    def __call__(self, planes: np.ndarray, ratio: float) -> np.ndarray:
        """Runs the network.

        Args:
            planes: (4, h, w) amplified, clipped at 1.
            ratio: their amplification, which one kind of network takes too.

        Returns:
            (4, h, w), not clipped.
        """
        import jittor as jt

        given = jt.array(np.ascontiguousarray(planes[None], np.float32))
        with jt.no_grad():
            told = (ratio,) if getattr(self.network, "takes_ratio", False) else ()
            return self.network(given, *told).numpy()[0]


def find(model: str | None, weights: str | Path | None, console: Console) -> Path:
    """The weight file that `--model` or `--weights` means; neither: the default.

    Raises:
        UsageError: both are given.
        WeightsError: unknown, missing, or cannot be fetched.
    """
    return networks.find(model, weights, TASK, console)


def read(path: Path) -> tuple[Weights, Knowledge]:
    """A weight file in the plain form that is built, and what it says of itself.

    Raises:
        WeightsError: damaged, or of another kind.
    """
    from restore_cli.nets.led import fold
    from restore_cli.weights import files

    weights = files.read(path)
    if weights.arch not in shapes.NAMES:
        raise WeightsError(f"holds a network of type '{weights.arch}', which does not denoise RAW "
                           "files", path=path, hint=f"See 'restore weights list --task {TASK}'")
    try:
        knowledge = Knowledge.of(weights.metadata)
        config, tensors = fold.ready(weights.arch, weights.config, weights.tensors)
    except WeightsError as error:
        error.path = error.path or path
        raise
    return Weights(weights.arch, dict(config), dict(tensors), weights.metadata), knowledge


def load(path: Path, *, device: str = "auto", threads: int | None = None,
         console: Console | None = None) -> Loaded:
    """Reads a weight file, starts the engine and builds the network.

    Raises:
        WeightsError: the file is damaged or of another kind.
        DeviceError: the engine cannot start.
    """
    from restore_cli.runtime import engine

    weights, knowledge = read(path)
    started = engine.start(device, threads, console=console)
    from restore_cli.nets import registry

    network = registry.build(weights.arch, weights.config)
    network.load_state_dict(weights.tensors)
    return Loaded(path.stem, weights.arch, weights.config, network,
                  layout(weights.arch, weights.config), knowledge, started.device)


def _plain(name: str) -> str:
    found = re.sub(r"[^a-z0-9]", "", name.lower())
    # "NIKON CORPORATION NIKON D850" and "Nikon D850" are one camera.
    found = found.replace("corporation", "")
    for maker in ("nikon", "canon", "sony"):
        found = found.replace(maker + maker, maker)
    return _ALIASES.get(found, found)
