"""Networks of `restore denoise`: where they come from, and the units they work in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from restore_cli.console import Console
from restore_cli.errors import InputError, UsageError, WeightsError
from restore_cli.jobs import networks
from restore_cli.nets.layout import Layout, layout
from restore_cli.nets.n2v import shapes
from restore_cli.weights.files import Weights

TASK = "denoise"
GENERIC = {1: "n2v-grey", 3: "n2v-colour"}
"""Shipped weights by channels: they know noise in general, not any one camera."""

DEFAULT = "field"
_FIELD = {"depth": 2, "num_channels_init": 32, "use_batch_norm": False,
          "independent_channels": False}
_CHOICES: dict[str, tuple[str, dict[str, Any]]] = {
    DEFAULT: ("n2v-field", _FIELD),
    "n2v2": ("n2v-field", {**_FIELD, "n2v2": True}),
    "n2v-unet": ("n2v-unet", {}),
    # Without the residual: a blind-spot network that adds its input learns to pass it through.
    **{name: (name, {"residual": False}) for name in ("rednet10", "rednet20", "rednet30")},
}
CHOICES = tuple(_CHOICES)

_KINDS = ("image", "fixed", "unit")


@dataclass(frozen=True)
class Units:
    """The map between stored values of one image and a network's.

    Attributes:
        mean, std: float32, one a channel: the network sees ``(value - mean) / std``.
        clip: stored values are first clipped to this range; None leaves them.
        step: and then rounded to multiples of this; 0 leaves them.
    """

    mean: np.ndarray
    std: np.ndarray
    clip: tuple[float, float] | None = None
    step: float = 0.0

    def to_network(self, values: np.ndarray) -> np.ndarray:
        """Stored values (C, ...) as float32 in the network's units."""
        values = np.asarray(values, np.float32)
        if self.clip is not None:
            values = np.clip(values, *map(np.float32, self.clip))
        if self.step:
            values = np.rint(values / np.float32(self.step)) * np.float32(self.step)
        mean, std = (_over(part, values.ndim) for part in (self.mean, self.std))
        return (values - mean) / std

    def from_network(self, values: np.ndarray) -> np.ndarray:
        """The network's output (C, ...) as stored values, neither rounded nor clipped."""
        return values * _over(self.std, values.ndim) + _over(self.mean, values.ndim)

    def only(self, channel: int) -> Units:
        """The map of one channel alone."""
        part = slice(channel, channel + 1)
        return Units(self.mean[part], self.std[part], self.clip, self.step)


def _over(values: np.ndarray, dims: int) -> np.ndarray:
    return values.reshape(-1, *(1,) * (dims - 1))


@dataclass(frozen=True)
class Normalisation:
    """How a network's units follow from stored values; metadata ``normalisation`` of its weights.

    Attributes:
        kind: "image": mean and standard deviation of each channel of the image itself; "fixed":
            `mean` and `std`, those of the training data, in stored values; "unit": stored values
            divided by the largest their type can hold.
        mean, std: of kind "fixed", one a channel or one for all.
        clip: of kind "unit": values are clipped to 0..1 first.
        quantise: of kind "unit": and rounded to 8 bits.
    """

    kind: str = "image"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    clip: bool = False
    quantise: bool = False

    @classmethod
    def of(cls, weights: Weights) -> Normalisation:
        """What a weight file says; where it says nothing, what its architecture was made for.

        Raises:
            WeightsError: it makes no sense.
        """
        text = weights.metadata.get("normalisation")
        if text is None:
            return cls("image" if weights.arch == "n2v-field" else "unit")
        try:
            made = json.loads(text)
            found = cls(str(made["kind"]), tuple(map(float, made.get("mean", ()))),
                        tuple(map(float, made.get("std", ()))), bool(made.get("clip", False)),
                        bool(made.get("quantise", False)))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise WeightsError(f"the normalisation {text!r} makes no sense") from error
        sound = found.kind in _KINDS and np.isfinite(found.mean + found.std).all()
        if found.kind == "fixed":
            sound = sound and len(found.mean) == len(found.std) > 0 and min(found.std) > 0
        if not sound:
            raise WeightsError(f"the normalisation {text!r} makes no sense")
        return found

    @property
    def text(self) -> str:
        """As it stands in a weight file's metadata."""
        made: dict[str, Any] = {"kind": self.kind}
        if self.kind == "fixed":
            made.update(mean=list(self.mean), std=list(self.std))
        if self.kind == "unit":
            made.update(clip=self.clip, quantise=self.quantise)
        return json.dumps(made)

    def units(self, mean: np.ndarray, std: np.ndarray, top: float) -> Units:
        """The map for one image.

        Args:
            mean, std: of each channel of the image, in stored values.
            top: what counts as full scale: the integer type's maximum, or 1 for floats.

        Raises:
            InputError: the training data had another number of channels.
        """
        count = len(mean)
        if self.kind == "image":
            std = np.where(std > 0, std, 1)
            return Units(np.asarray(mean, np.float32), np.asarray(std, np.float32))
        if self.kind == "fixed":
            if len(self.mean) not in (1, count):
                raise InputError(f"has {count} channels, and the weights were made for "
                                 f"{len(self.mean)}")
            return Units(*(np.resize(np.asarray(part, np.float32), count)
                           for part in (self.mean, self.std)))
        return Units(np.zeros(count, np.float32), np.full(count, top, np.float32),
                     (0.0, top) if self.clip else None, top / 255 if self.quantise else 0.0)


@dataclass
class Loaded:
    """A network ready to run or to train.

    Attributes:
        name: for messages.
        arch, config: as the registry builds it.
        network: Jittor module from (N, K, ...) to (N, K, ...).
        layout: its facts.
        channels: K.
        dims: 2 or 3 axes of space.
        normalisation: its units.
        device: what it computes on, "cpu" or "cuda:N".
        metadata: what its weight file says; empty for random weights.
    """

    name: str
    arch: str
    config: dict[str, Any]
    network: Any
    layout: Layout
    channels: int
    dims: int
    normalisation: Normalisation
    device: str = "cpu"
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def directional(self) -> bool:
        """Whether it was trained for noise with a direction, so that images must not be turned."""
        return self.metadata.get("struct", "").partition(":")[0] in ("horizontal", "vertical")


def architecture(choice: str, channels: int, dims: int = 2) -> tuple[str, dict[str, Any]]:
    """Registry name and configuration of a network to train.

    Args:
        choice: one of `CHOICES`.

    Raises:
        UsageError: unknown, or it has no 3-D form.
    """
    if choice not in _CHOICES:
        raise UsageError(f"unknown network '{choice}'", hint="Use one of " + ", ".join(CHOICES))
    arch, config = _CHOICES[choice]
    if arch == "n2v-field":
        return arch, {**config, "conv_dims": dims, "in_channels": channels,
                      "num_classes": channels}
    if dims != 2:
        raise UsageError(f"{choice} has no form for volumes", hint="Use --network field or n2v2")
    return arch, {**config, "in_channels": channels, "out_channels": channels}


def generic(channels: int, console: Console) -> Path | None:
    """The shipped weights for 1 or 3 channels, or None where this installation has none."""
    from restore_cli.weights.store import Store

    store = Store(console=console)
    name = GENERIC.get(channels)
    if name is None or name not in store.manifest.entries:
        return None
    return store.find(name, TASK)


def find(model: str | None, weights: str | Path | None, console: Console) -> Path:
    """The weight file that `--model` or `--weights` means.

    Raises:
        UsageError: both are given.
        WeightsError: unknown, missing, or cannot be fetched.
    """
    return networks.find(model, weights, TASK, console)


def read(path: Path) -> Weights:
    """A weight file, checked to hold a network that denoises.

    Raises:
        WeightsError: damaged, or of another kind.
    """
    from restore_cli.weights import files

    weights = files.read(path)
    if weights.arch not in shapes.NAMES:
        raise WeightsError(f"holds a network of type '{weights.arch}', which does not denoise",
                           path=path, hint="See 'restore weights list --task denoise'")
    facts = shapes.describe(weights.arch, weights.config)
    if facts.inputs != facts.outputs:
        raise WeightsError(f"makes {facts.outputs} channels of {facts.inputs}", path=path,
                           hint="See 'restore weights list --task denoise'")
    try:
        Normalisation.of(weights)
    except WeightsError as error:
        error.path = path
        raise
    return weights


def build(arch: str, config: Mapping[str, Any], weights: Weights | None, name: str, device: str,
          seed: int = 0) -> Loaded:
    """The network, with given or random weights. The engine must run.

    Args:
        weights: None draws random ones from `seed`.
    """
    import jittor as jt

    from restore_cli.nets import registry

    facts = shapes.describe(arch, config)
    jt.set_global_seed(seed % (1 << 31))
    network = registry.build(arch, config)
    if weights is None:
        jt.sync_all()  # they are drawn when they are needed, from whatever seed is set then
    else:
        network.load_state_dict(weights.tensors)
    return Loaded(name, arch, dict(config), network, layout(arch, config), facts.inputs,
                  facts.dims, Normalisation() if weights is None else Normalisation.of(weights),
                  device, {} if weights is None else dict(weights.metadata))


def load(path: Path, device: str) -> Loaded:
    """The network of a weight file. The engine must run.

    Raises:
        WeightsError: the file is damaged or of another kind.
    """
    weights = read(path)
    return build(weights.arch, weights.config, weights, path.stem, device)
