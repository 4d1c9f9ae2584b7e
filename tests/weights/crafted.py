"""Writes pickles and checkpoint containers by hand: honest ones and ones that lie.

Python's pickler cannot name functions of packages that are not installed, nor write nonsense.
"""

from __future__ import annotations

import io
import struct
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Name:
    """A global such as torch.FloatStorage."""

    module: str
    name: str


@dataclass(frozen=True)
class Call:
    """REDUCE: a name called with arguments."""

    function: Any
    arguments: Any


@dataclass(frozen=True)
class Build:
    """BUILD: an object given a state."""

    target: Any
    state: Any


@dataclass(frozen=True)
class Persistent:
    """A persistent id."""

    identity: Any


@dataclass(frozen=True)
class Raw:
    """Opcodes as they are."""

    code: bytes


REBUILD = Name("torch._utils", "_rebuild_tensor_v2")
ORDERED = Call(Name("collections", "OrderedDict"), ())


def body(value: Any) -> bytes:
    """Opcodes that push `value`."""
    if isinstance(value, Raw):
        return value.code
    if isinstance(value, Name):
        return b"c" + f"{value.module}\n{value.name}\n".encode()
    if isinstance(value, Call):
        return body(value.function) + body(value.arguments) + b"R"
    if isinstance(value, Build):
        return body(value.target) + body(value.state) + b"b"
    if isinstance(value, Persistent):
        return body(value.identity) + b"Q"
    if value is None or isinstance(value, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, int):
        digits = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        return b"\x8a" + bytes([len(digits)]) + digits
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
    if isinstance(value, bytes):
        return b"B" + struct.pack("<I", len(value)) + value
    if isinstance(value, tuple):
        return b"(" + b"".join(map(body, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(body, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(body(key) + body(item) for key, item in value.items()) + b"u"
    raise TypeError(type(value))


def pickled(value: Any, protocol: int = 2) -> bytes:
    """A whole pickle."""
    return b"\x80" + bytes([protocol]) + body(value) + b"."


def storage_id(key: Any = "0", kind: str = "FloatStorage", numel: int = 6,
               location: str = "cpu", module: str = "torch", legacy: bool = False) -> tuple:
    """torch's persistent id of a storage."""
    identity = ("storage", Name(module, kind), key, location, numel)
    return (*identity, None) if legacy else identity


def tensor(storage: tuple, shape: Any, strides: Any, offset: Any = 0) -> Call:
    """A tensor as torch pickles it."""
    return Call(REBUILD, (Persistent(storage), offset, shape, strides, False, ORDERED))


def zip_file(value: Any, storages: dict[str, bytes], *, name: str = "archive",
             extra: dict[str, bytes] | None = None,
             method: int = zipfile.ZIP_STORED) -> bytes:
    """torch's zip container."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr(f"{name}/data.pkl", pickled(value))
        for key, data in storages.items():
            archive.writestr(f"{name}/data/{key}", data)
        archive.writestr(f"{name}/version", b"3\n")
        for key, data in (extra or {}).items():
            archive.writestr(f"{name}/{key}", data)
    return buffer.getvalue()


def legacy_file(value: Any, storages: dict[str, tuple[int, bytes]], *, magic: int | None = None,
                protocol: int = 1001, keys: Any = None) -> bytes:
    """torch's old container; storages are (element count to write, raw data)."""
    magic = 0x1950A86A20F9469CFC6C if magic is None else magic
    sizes = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    parts = [pickled(magic), pickled(protocol), pickled(sizes), pickled(value),
             pickled(sorted(storages) if keys is None else keys)]
    for key in sorted(storages):
        count, data = storages[key]
        parts += [struct.pack("<q", count), data]
    return b"".join(parts)


def numbers(count: int = 6) -> tuple[np.ndarray, bytes]:
    """Float32 values and their bytes."""
    values = np.arange(count, dtype="<f4") * np.float32(0.5) - 1
    return values, values.tobytes()


def state_file(tensors: dict[str, np.ndarray], *, wrap=lambda state: state) -> bytes:
    """A zip container with a state dict of float32 arrays; `wrap` puts it into its container."""
    state, storages = {}, {}
    for index, (key, array) in enumerate(tensors.items()):
        array = np.asarray(array, dtype="<f4", order="C")
        strides = tuple(int(step) // 4 for step in array.strides)
        state[key] = tensor(storage_id(str(index), numel=array.size), tuple(array.shape), strides)
        storages[str(index)] = array.tobytes()
    return zip_file(wrap(state), storages)
