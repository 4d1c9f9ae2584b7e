"""Turns a checkpoint of any known origin into our `Weights`, checking every key and shape.

A converter recognises one layout of checkpoint and returns a `Draft`: upstream's names mapped
to ours, nothing checked. `convert` then holds the draft against the network's `Layout`. Other
systems add theirs with `register`.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from restore_cli import __version__
from restore_cli.errors import RestoreError, WeightsError
from restore_cli.nets.layout import Layout, layout
from restore_cli.weights import files, manifest
from restore_cli.weights.files import Weights
from restore_cli.weights.hashing import sha256_of
from restore_cli.weights.torch_file import TorchFile, is_tensor, shape_of

CONVERTER_VERSION = "1"
LIIF_NORMALISATION = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@dataclass
class Draft:
    """A converter's reading of a checkpoint, not yet checked.

    Attributes:
        arch, config: as `restore_cli.nets.registry.build` takes them.
        tensors: lazy tensors of the file under our keys.
        unused: names of parts of the file that are left behind, such as "optimizer".
        notes: sentences for the user about what was assumed.
        normalisation: (mean, std) per channel of RGB in [0, 1]: the network sees
            ``(x - mean) / std`` and its output times std plus mean is the picture. None where
            `metadata` tells it in a form of its own.
        metadata: further metadata, such as training facts.
        named: metadata that the file's name tells, where upstream names its files by a rule.
    """

    arch: str
    config: dict[str, Any]
    tensors: dict[str, Any]
    unused: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None = LIIF_NORMALISATION
    metadata: dict[str, str] = field(default_factory=dict)
    named: Callable[[str], Mapping[str, str]] | None = None


class Converter(Protocol):
    """Reads one kind of checkpoint."""

    name: str

    def draft(self, value: Any, array: Callable[[Any], np.ndarray]) -> Draft | None:
        """The draft for the saved object `value`, or None when it is of another kind.

        Args:
            array: fetches a tensor's contents, should the choice depend on it.
        """


@dataclass(frozen=True)
class Report:
    """How a checkpoint's keys met the network's.

    Attributes:
        missing: keys the network needs and the file lacks.
        unexpected: tensors of the file the network has no place for.
        reshaped: (key, expected shape, shape in the file).
        unused: parts of the file that do not influence the result (mean shifts, optimizer).
        filled: keys without influence that the file lacks and that were filled in.
        notes: what was assumed.
    """

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    reshaped: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = ()
    unused: tuple[str, ...] = ()
    filled: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether every key is there, expected and of the right shape."""
        return not (self.missing or self.unexpected or self.reshaped)

    def describe(self) -> str:
        """The misfits in one line, the longest lists cut short."""
        parts = [f"{len(keys)} {what} ({_some(keys)})" for what, keys in (
            ("missing", self.missing), ("unexpected", self.unexpected),
            ("reshaped", tuple(f"{key} {list(actual)} instead of {list(expected)}"
                               for key, expected, actual in self.reshaped))) if keys]
        return "; ".join(parts)


_CONVERTERS: list[Converter] = []


def register(converter: Converter) -> None:
    """Adds a converter; earlier ones are asked first."""
    _CONVERTERS.append(converter)


def converters() -> tuple[Converter, ...]:
    """All converters, in the order they are asked."""
    importlib.import_module("restore_cli.weights.converters")  # registers ours the first time
    return tuple(_CONVERTERS)


def convert(path: str | Path, *, source: str | None = None, licence: str = "unknown",
            expect: tuple[str, Mapping[str, Any]] | None = None) -> tuple[Weights, Report]:
    """Reads a ``.pth``, ``.pt``, ``.ckpt``, ``.pkl`` or our own file into checked `Weights`.

    A file that the manifest knows by its hash gets the terms and the normalisation told there.

    Args:
        source: where the file came from, for the metadata; default: its name.
        licence: the weights' licence, for the metadata.
        expect: architecture and configuration the file must have (from the manifest).

    Raises:
        WeightsError: not a checkpoint, of an unknown kind, or keys and shapes that do not fit.
    """
    path = Path(path)
    if files.is_safetensors(path):
        weights, report = files.read(path), Report()
    else:
        with TorchFile(path) as file:
            draft = _recognise(file, path)
            weights, report = fit(draft, file.array, path)
        if draft.named is not None:
            weights.metadata.update(draft.named(path.name))
        weights.metadata["converter"] = f"restore {__version__}, converter {CONVERTER_VERSION}"
    if expect is not None:
        must_be(weights, *expect, path)
    facts = weights.metadata  # our own files keep theirs unless told otherwise
    if source is not None or "source" not in facts:
        facts.update(source=source or path.name, source_sha256=sha256_of(path))
        known = manifest.load().published(facts["source_sha256"])
        if known is not None:
            licence = known.licence if licence == "unknown" else licence
            feed(weights, known.normalisation)
            tell(weights, known.facts)
    if licence != "unknown" or "licence" not in facts:
        facts["licence"] = licence
    return weights, report


def feed(weights: Weights, normalisation: Mapping[str, Any] | None) -> None:
    """Notes in denoising weights how their network is fed; None leaves what is there."""
    if normalisation is not None:
        weights.metadata["normalisation"] = json.dumps(dict(normalisation))


def tell(weights: Weights, facts: Mapping[str, Any]) -> None:
    """Adds facts to the metadata: text as it is, anything else as JSON."""
    weights.metadata.update({key: value if isinstance(value, str) else json.dumps(value)
                             for key, value in facts.items()})


def fit(draft: Draft, array: Callable[[Any], np.ndarray],
        path: str | Path | None = None) -> tuple[Weights, Report]:
    """Holds a draft against its network's layout and fetches the tensors.

    Returns:
        Weights with float32 tensors in the layout's order, without source metadata.

    Raises:
        WeightsError: with every misfit, or for tensors that are not finite numbers.
    """
    expected = known_layout(draft.arch, draft.config, path)
    report = compare(draft, expected)
    if not report.fits:
        raise WeightsError(f"does not fit the network '{draft.arch}': {report.describe()}",
                           path=path)
    tensors = {}
    for key, shape in expected.shapes.items():
        if key in draft.tensors:
            tensors[key] = _numbers(key, array(draft.tensors[key]), path).reshape(shape)
        else:
            tensors[key] = _neutral(shape)
    metadata = dict(draft.metadata)
    if draft.normalisation is not None:
        mean, std = draft.normalisation
        metadata["normalisation"] = json.dumps({"mean": list(mean), "std": list(std)})
    return Weights(draft.arch, draft.config, tensors, metadata), report


def compare(draft: Draft, expected: Layout) -> Report:
    """Which keys of a draft fit a layout."""
    have, want = draft.tensors, expected.shapes
    filled = tuple(key for key in want if key not in have and key in expected.optional)
    return Report(
        missing=tuple(key for key in want if key not in have and key not in expected.optional),
        unexpected=tuple(key for key in have if key not in want),
        reshaped=tuple((key, tuple(want[key]), shape_of(have[key])) for key in want
                       if key in have and not _same(shape_of(have[key]), tuple(want[key]))),
        unused=(*(key for key in have if key in expected.optional), *draft.unused),
        filled=filled, notes=tuple(draft.notes))


def _same(have: tuple[int, ...], want: tuple[int, ...]) -> bool:
    """Equal shapes; Jittor writes a scalar as a vector of one."""
    return have == want or (have == (1,) and want == ())


def known_layout(arch: str, config: Mapping[str, Any], path: str | Path | None = None) -> Layout:
    """`nets.layout.layout` for settings from a file: sane numbers only, errors with the path.

    Raises:
        WeightsError: unknown architecture, or settings that make no sense.
    """
    try:
        _check_settings(config)
        return layout(arch, config)
    except RestoreError as error:
        raise WeightsError(error.message, path=path, hint=error.hint) from error
    except (TypeError, ValueError, KeyError, AttributeError, ZeroDivisionError) as error:
        raise WeightsError(f"has settings that make no sense for '{arch}': {error}",
                           path=path) from error


def must_be(weights: Weights, arch: str, config: Mapping[str, Any], path: Path) -> None:
    """Refuses weights of another network than `arch` with `config`.

    Raises:
        WeightsError: another architecture, or other shapes.
    """
    wanted = known_layout(arch, config).shapes
    actual = {key: tuple(tensor.shape) for key, tensor in weights.tensors.items()}
    if weights.arch != arch or actual != {key: tuple(shape) for key, shape in wanted.items()}:
        raise WeightsError(f"holds a '{weights.arch}' network of {len(actual)} tensors that is not "
                           f"the '{arch}' announced under this name", path=path)


def _recognise(file: TorchFile, path: Path) -> Draft:
    for converter in converters():
        try:
            found = converter.draft(file.value, file.array)
        except WeightsError as error:
            raise WeightsError(error.message, path=path, hint=error.hint) from error
        if found is not None:
            return found
    inside = ", ".join(map(repr, list(file.value)[:6])) if isinstance(file.value, dict) \
        else type(file.value).__name__
    raise WeightsError(
        f"is a checkpoint of an unknown kind (it holds {inside[:300]})", path=path,
        hint="Known kinds: " + ", ".join(converter.name for converter in converters()))


def _numbers(key: str, values: np.ndarray, path: str | Path | None) -> np.ndarray:
    if values.dtype.kind not in "fiu":
        raise WeightsError(f"{key} holds {values.dtype}, not real numbers", path=path)
    with np.errstate(over="ignore"):
        made = np.ascontiguousarray(values, dtype=np.float32)
    # ascontiguousarray turns scalars into vectors of one
    made = made.reshape(values.shape)
    if not np.isfinite(made).all():
        raise WeightsError(f"{key} holds infinite or undefined numbers", path=path)
    return made


def _neutral(shape: tuple[int, ...]) -> np.ndarray:
    """Mean shifts do not influence the output: filled with one that shifts nothing."""
    if len(shape) == 4 and shape[0] == shape[1]:
        return np.eye(shape[0], dtype=np.float32).reshape(shape)
    return np.zeros(shape, dtype=np.float32)


def _check_settings(value: Any, name: str = "") -> None:
    # A layout is a list of all keys: without bounds, a short file could ask for billions.
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_settings(item, str(key))
        repeats = 1
        for key in ("n_resgroups", "n_resblocks", "num_layers"):
            count = value.get(key, 1)
            repeats *= count if isinstance(count, int) else 1
        if repeats > 4096:
            raise WeightsError(f"has settings for a network of {repeats} blocks")
    elif isinstance(value, (list, tuple)):
        if len(value) > 64:
            raise WeightsError(f"has {len(value)} values for the setting '{name}'")
        for item in value:
            _check_settings(item, name)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        if not 0 <= value <= 65536:
            raise WeightsError(f"has the setting {name} = {value}, which makes no sense")


def _some(keys: tuple[str, ...], shown: int = 4) -> str:
    more = f", and {len(keys) - shown} more" if len(keys) > shown else ""
    return ", ".join(str(key)[:120] for key in keys[:shown]) + more


def as_state_dict(value: Any) -> dict[str, Any] | None:
    """`value` when it is a flat dictionary of named tensors (``module.`` removed), else None."""
    if not isinstance(value, dict) or not value:
        return None
    if not all(isinstance(key, str) and is_tensor(item) for key, item in value.items()):
        return None
    if all(key.startswith("module.") for key in value):
        return {key[len("module."):]: item for key, item in value.items()}
    return dict(value)
