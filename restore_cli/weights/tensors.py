"""Tensors inside a checkpoint file: where they lie, and how to fetch one safely."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from restore_cli.weights.pickle_reader import Refused

MAX_DIMENSIONS = 16

# Storage class or dtype name -> (NumPy type of the bytes, little-endian). bfloat16 has no
# NumPy type: it is read as its upper-half-of-float32 bits.
BFLOAT16 = "bfloat16"
PLAIN = {
    "float64": "f8", "float32": "f4", "float16": "f2", BFLOAT16: "u2",
    "int64": "i8", "int32": "i4", "int16": "i2", "int8": "i1",
    "uint8": "u1", "uint16": "u2", "uint32": "u4", "uint64": "u8", "bool": "u1",
    "complex64": "c8", "complex128": "c16",
}
STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16",
    "BFloat16Storage": BFLOAT16, "LongStorage": "int64", "IntStorage": "int32",
    "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8",
    "BoolStorage": "bool", "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128", "UntypedStorage": "uint8",
}


def item_size(dtype: str) -> int:
    """Bytes of one element of a `PLAIN` dtype."""
    return np.dtype(PLAIN[dtype]).itemsize


class Budget:
    """Bounds what a small file can make us allocate.

    Args:
        limit: bytes that may be taken in total.
    """

    def __init__(self, limit: int):
        self.left = limit

    def take(self, size: int) -> None:
        """Charges `size` bytes.

        Raises:
            Refused: the file asks for far more memory than its own size accounts for.
        """
        self.left -= size
        if self.left < 0:
            raise Refused("the file unpacks to far more data than it contains")


@dataclass
class Storage:
    """A run of elements in the file, shared by any number of tensors.

    Attributes:
        dtype: a key of `PLAIN`.
        numel: elements, as the pickle declares them.
        fetch: returns the raw bytes; the length is checked against the declaration.
        big_endian: byte order of the raw bytes.
    """

    dtype: str
    numel: int
    fetch: Callable[[], bytes]
    budget: Budget
    big_endian: bool = False

    def elements(self, dtype: str) -> np.ndarray:
        """The elements as a read-only flat array in native order (bfloat16 as uint16)."""
        raw = self.fetch()
        if len(raw) != self.numel * item_size(self.dtype):
            raise Refused(f"a storage holds {len(raw)} bytes where {self.numel} elements of "
                          f"{self.dtype} were declared")
        order = np.dtype(PLAIN[dtype]).newbyteorder(">" if self.big_endian else "<")
        return np.frombuffer(raw, dtype=order)


@dataclass(frozen=True)
class Tensor:
    """A strided view of a `Storage`; `array()` fetches it.

    Construct with `view`, which checks every bound.
    """

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> np.ndarray:
        """A contiguous copy: bfloat16 becomes float32, every other dtype stays."""
        count = _product(self.shape)
        self.storage.budget.take(count * item_size(self.dtype))
        flat = self.storage.elements(self.dtype)
        if count == 0:
            view = flat[:0].reshape(self.shape)
        else:
            view = np.lib.stride_tricks.as_strided(
                flat[self.offset:], self.shape,
                tuple(stride * flat.itemsize for stride in self.strides), writeable=False)
        # copy=True also brings foreign byte order to native.
        native = view.astype(view.dtype.newbyteorder("="), order="C", copy=True)
        if self.dtype == BFLOAT16:
            bits = native.reshape(-1).astype(np.uint32) << 16
            return bits.view(np.float32).reshape(self.shape)
        return native != 0 if self.dtype == "bool" else native


def view(storage: Any, offset: Any, shape: Any, strides: Any, dtype: str | None = None) -> Tensor:
    """A checked `Tensor`.

    Args:
        offset, strides: in elements of `dtype`.
        dtype: None means the storage's own; otherwise the storage is reinterpreted.

    Raises:
        Refused: anything that is not a list of sane integers, or reaches outside the storage.
    """
    if not isinstance(storage, Storage):
        raise Refused("a tensor refers to something that is no storage")
    dtype = dtype or storage.dtype
    available = storage.numel * item_size(storage.dtype) // item_size(dtype)
    shape, strides = _sizes(shape, "shape"), _sizes(strides, "strides")
    if len(shape) != len(strides) or len(shape) > MAX_DIMENSIONS:
        raise Refused(f"a tensor has {len(shape)} sides and {len(strides)} strides")
    offset = size(offset, "offset")
    count = _product(shape)
    steps = zip(shape, strides, strict=True)
    last = offset + sum((side - 1) * step for side, step in steps) if count else 0
    if count and last >= available or offset > available:
        raise Refused(f"a tensor reaches element {max(last, offset)} of a storage of {available}")
    if count > available:
        raise Refused(f"a tensor of {count} elements claims a storage of {available}")
    return Tensor(storage, dtype, offset, shape, strides)


def size(value: Any, what: str) -> int:
    """`value` as a size: an integer from 0 to 2**48.

    Raises:
        Refused: anything else.
    """
    if type(value) is not int or not 0 <= value < 1 << 48:
        raise Refused(f"a tensor's {what} is not a sensible number")
    return value


def _sizes(values: Any, what: str) -> tuple[int, ...]:
    if not isinstance(values, (tuple, list)):
        raise Refused(f"a tensor's {what} is not a list")
    return tuple(size(value, what) for value in values)


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for side in shape:
        total *= side
    return total
