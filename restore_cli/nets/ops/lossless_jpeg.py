"""Lossless JPEG for `media.dng`, compiled: the bytes that libjpeg-turbo makes, ten times faster."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

import numpy as np

from restore_cli.errors import DeviceError
from restore_cli.nets.ops.library import Library

_LIBRARY = Library("lossless_jpeg.cc")
_HEADER = 256
_LARGEST = 8  # bytes of a sample: 31 bits, and each byte of them may be followed by a zero


@functools.cache
def encoder() -> Callable[[np.ndarray], bytes] | None:
    """What codes uint16 (h, w, components), sides of 65535 at most and 1 to 4 components, as
    lossless JPEG (SOF3, predictor 1) of 16 bits; for any thread. None where it cannot be compiled.

    The engine must run.
    """
    try:
        _LIBRARY.load()
        code = ctypes.CDLL(None).restore_lossless_jpeg
    except (DeviceError, OSError, TypeError, AttributeError):
        return None
    code.restype = ctypes.c_int64
    code.argtypes = [ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p, ctypes.c_void_p]

    def encode(block: np.ndarray) -> bytes:
        block = np.ascontiguousarray(block, np.uint16)
        spare, out = np.empty_like(block), np.empty(_LARGEST * block.size + _HEADER, np.uint8)
        length = code(block.ctypes.data, *block.shape, spare.ctypes.data, out.ctypes.data)
        return out[:length].tobytes()

    return encode
