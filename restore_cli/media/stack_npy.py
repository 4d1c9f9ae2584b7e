"""NumPy's .npy files as stacks, through the file system's cache."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from restore_cli.errors import InputError

MAGIC = b"\x93NUMPY"
_ZEROS = bytes(1 << 20)


def open_array(path: Path) -> np.ndarray:
    """The array in a .npy file, mapped into memory and read-only.

    Raises:
        InputError: truncated, of objects, or not numbers.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        why = "the file is truncated" if "greater than file size" in str(error) else str(error)
        raise InputError(f"cannot be read as .npy: {why}", path=path) from error
    if array.dtype.kind not in "uif":
        raise InputError(f"holds {array.dtype}, which are no picture with noise", path=path)
    if array.ndim < 2 or 0 in array.shape:
        raise InputError(f"has the shape {array.shape}, which is no picture", path=path)
    return array


def create_array(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> np.memmap:
    """A new .npy file of this shape, mapped into memory for writing, its space reserved.

    Writing to a mapped file on a full disk kills the process, so the space is taken first.

    Raises:
        OSError: no room, no permission.
    """
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    offset, size = array.offset, array.offset + array.nbytes
    with open(path, "r+b") as stream:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(stream.fileno(), 0, size)
        else:
            stream.seek(offset)
            for start in range(offset, size, len(_ZEROS)):
                stream.write(_ZEROS[:size - start])
    return array
