"""MATLAB files (level 5, MAT-File Format, section 1): one real matrix in, one file out."""

from __future__ import annotations

import struct

import numpy as np

from restore_cli.errors import ShapeError

_MATRIX, _INT8, _INT32, _UINT32, _DOUBLE = 14, 1, 5, 6, 9
_DOUBLE_CLASS = 6


def encode(name: str, matrix: np.ndarray) -> bytes:
    """A file with one variable; the same arguments give the same bytes.

    Args:
        name: of the variable, an ASCII identifier.
        matrix: (rows, columns), kept as float64.

    Raises:
        ShapeError: not two axes.
    """
    if matrix.ndim != 2:
        raise ShapeError("matrix", "(rows, columns)", matrix.shape)
    body = (_element(_UINT32, struct.pack("<II", _DOUBLE_CLASS, 0))
            + _element(_INT32, struct.pack("<ii", *matrix.shape))
            + _element(_INT8, name.encode("ascii"))
            + _element(_DOUBLE, np.asarray(matrix, "<f8").tobytes(order="F")))
    text = b"MATLAB 5.0 MAT-file, written by restore".ljust(124)
    return text + struct.pack("<H2s", 0x0100, b"IM") + _element(_MATRIX, body)


def _element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)
