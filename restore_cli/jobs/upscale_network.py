"""Finds and builds the network of an up-scaling."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restore_cli.console import Console
from restore_cli.errors import WeightsError
from restore_cli.jobs import networks
from restore_cli.nets.layout import Layout, layout
from restore_cli.weights.files import Weights

IMPLICIT = ("liif", "metasr")
UPSAMPLERS = ("edsr-baseline", "edsr", "rdn", "rcan")


@dataclass
class Loaded:
    """A network ready to run.

    Attributes:
        name: for messages.
        network: Jittor module with `encode` and `render`.
        layout: its facts.
        weights: where it came from, and its normalisation (the tensors are dropped).
        device: what it computes on, "cpu" or "cuda:N".
    """

    name: str
    network: Any
    layout: Layout
    weights: Weights
    device: str = "cpu"

    @property
    def fused(self) -> bool:
        """Whether the decoder is the CPU operator, which takes little memory."""
        return self.device == "cpu" and sys.platform != "win32"

    @property
    def encoder_fused(self) -> bool:
        """The same of the encoder, if it is of a form that the operator can be."""
        from restore_cli.nets.ops import unet_operator

        return self.fused and unet_operator.available()


def find(model: str | None, weights: str | Path | None, console: Console) -> Path:
    """The weight file that `--model` or `--weights` means; neither: the default.

    Raises:
        UsageError: both are given.
        WeightsError: unknown, missing, or cannot be fetched.
    """
    return networks.find(model, weights, "upscale", console)


def facts(weights: Weights, path: Path) -> tuple[Weights, Layout]:
    """The weights in the form that is built, and that network's layout.

    A bare fixed-scale up-sampler (EDSR, RDN, RCAN with a tail) becomes LIIF's fixed-scale form,
    the same network with a decoder that only samples.

    Raises:
        WeightsError: the network does not up-scale.
    """
    if weights.arch in UPSAMPLERS and not weights.config.get("no_upsampling", False):
        weights = Weights("liif", {"encoder_spec": {"name": weights.arch, "args": weights.config}},
                          {f"encoder.{key}": value for key, value in weights.tensors.items()},
                          weights.metadata)
    if weights.arch not in IMPLICIT:
        raise WeightsError(f"holds a network of type '{weights.arch}', which does not upscale",
                           path=path, hint="See 'restore weights list --task upscale'")
    return weights, layout(weights.arch, weights.config)


def load(path: Path, *, device: str = "auto", threads: int | None = None,
         console: Console | None = None) -> Loaded:
    """Reads a weight file, starts the engine and builds the network.

    Raises:
        WeightsError: the file is damaged or of another kind.
        DeviceError: the engine cannot start.
    """
    from restore_cli.runtime import engine
    from restore_cli.weights import files

    weights, shape = facts(files.read(path), path)
    started = engine.start(device, threads, console=console)
    from restore_cli.nets import registry

    network = registry.build(weights.arch, weights.config)
    network.load_state_dict(weights.tensors)
    weights.tensors = {}
    return Loaded(path.stem, network, shape, weights, started.device)
