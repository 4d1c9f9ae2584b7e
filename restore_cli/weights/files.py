"""Weight files: ours are safetensors with metadata; foreign checkpoints are read through."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from restore_cli.errors import WeightsError
from restore_cli.media.atomic import atomic_path

FORMAT = "restore-weights-1"
MAX_HEADER = 16 << 20
_TYPES = {"float32": ("F32", "<f4"), "float16": ("F16", "<f2")}


@dataclass
class Weights:
    """A network's weights with all it takes to build and feed it.

    Attributes:
        arch, config: for `restore_cli.nets.registry.build`.
        tensors: float32 arrays under upstream's keys.
        metadata: text facts: source, source_sha256, licence, converter, normalisation, ...
    """

    arch: str
    config: dict[str, Any]
    tensors: dict[str, np.ndarray]
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """(mean, std) per channel: the network sees ``(x - mean) / std`` of RGB in [0, 1], and
        its output times std plus mean is the picture. LIIF's ½, ½ where the file says nothing.

        Raises:
            WeightsError: the metadata is damaged.
        """
        text = self.metadata.get("normalisation")
        if text is None:
            return (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
        try:
            made = json.loads(text)
            mean, std = tuple(map(float, made["mean"])), tuple(map(float, made["std"]))
        except (ValueError, TypeError, KeyError) as error:
            raise WeightsError(f"the normalisation {text!r} makes no sense") from error
        if len(mean) != 3 or len(std) != 3 or not np.isfinite(mean + std).all() or min(std) <= 0:
            raise WeightsError(f"the normalisation {text!r} makes no sense")
        return mean, std


def read(path: str | Path) -> Weights:
    """Reads a weight file: our safetensors, or a known ``.pth``, ``.pt``, ``.pkl``.

    Raises:
        WeightsError: missing, damaged, hostile or of an unknown kind; names the file.
    """
    path = Path(path)
    if is_safetensors(path):
        return _read_safetensors(path)
    from restore_cli.weights.convert import convert

    return convert(path)[0]


def is_safetensors(path: str | Path) -> bool:
    """Whether a file starts like safetensors.

    Raises:
        WeightsError: the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(16)
    except OSError as error:
        raise WeightsError(f"cannot be read: {error.strerror or error}", path=path) from error
    return (len(head) > 9 and 2 <= int.from_bytes(head[:8], "little") <= MAX_HEADER
            and head[8:9] == b"{")


def write(path: str | Path, weights: Weights, dtype: str = "float32", *,
          overwrite: bool = True) -> None:
    """Writes a safetensors file at once or not at all; equal weights give equal bytes.

    Args:
        dtype: "float32" or "float16".
        overwrite: False makes an existing file an error.

    Raises:
        OutputError: the file exists or cannot be written.
        WeightsError: a value does not fit the dtype.
    """
    payload = _serialise(weights, dtype)
    with atomic_path(path, overwrite=overwrite) as temporary, temporary.open("wb") as file:
        file.writelines(payload)


def _serialise(weights: Weights, dtype: str) -> list[bytes]:
    # The library's writer orders metadata at random; the format is simple enough to give the
    # same bytes every time: header length, JSON header, then the tensors.
    if dtype not in _TYPES:
        raise WeightsError(f"cannot store weights as {dtype}", hint="Use float32 or float16")
    code, numpy_type = _TYPES[dtype]
    metadata = {**weights.metadata, "format": FORMAT, "arch": weights.arch,
                "config": json.dumps(weights.config, sort_keys=True, allow_nan=False)}
    header: dict[str, Any] = {"__metadata__": {key: metadata[key] for key in sorted(metadata)}}
    pieces, offset = [], 0
    for key in sorted(weights.tensors):
        with np.errstate(over="ignore"):
            array = np.ascontiguousarray(weights.tensors[key], dtype=numpy_type)
        if not np.isfinite(array).all():
            raise WeightsError(f"{key} holds numbers that {dtype} cannot")
        piece = array.tobytes()
        shape = list(np.shape(weights.tensors[key]))
        header[key] = {"dtype": code, "shape": shape,
                       "data_offsets": [offset, offset + len(piece)]}
        offset += len(piece)
        pieces.append(piece)
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    return [len(text).to_bytes(8, "little"), text, *pieces]


def _read_safetensors(path: Path) -> Weights:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            metadata = dict(file.metadata() or {})
            tensors = {key: file.get_tensor(key) for key in file.keys()}
    except (SafetensorError, OSError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(f"is damaged or no weight file: {error}", path=path) from error
    return _checked(path, metadata, tensors)


def _checked(path: Path, metadata: dict[str, str], tensors: dict[str, np.ndarray]) -> Weights:
    from restore_cli.weights.convert import Draft, fit

    arch, text = metadata.pop("arch", None), metadata.pop("config", None)
    metadata.pop("format", None)
    if arch is None or text is None:
        raise WeightsError("does not say which network it is for", path=path,
                           hint="Convert the original .pth with 'restore weights convert'")
    try:
        config = json.loads(text)
    except ValueError as error:
        raise WeightsError("has damaged metadata", path=path) from error
    if not isinstance(config, dict):
        raise WeightsError("has damaged metadata", path=path)
    draft = Draft(arch, config, tensors, normalisation=None, metadata=metadata)
    return fit(draft, lambda array: array, path)[0]
