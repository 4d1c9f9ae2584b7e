"""Moving and shrinking a blur kernel as the published Realistic kernels were made.

Both are written out because neither SciPy nor OpenCV is needed for anything else.
"""

from __future__ import annotations

import numpy as np

_POLE = np.sqrt(3.0) - 2  # of the cubic B-spline's inverse filter
_A = -0.75  # of OpenCV's cubic interpolation


def spline_shift(array: np.ndarray, shift: tuple[float, float]) -> np.ndarray:
    """Moves a small picture by a cubic spline through its samples.

    Equals ``scipy.ndimage.shift(array, shift, order=3, mode="constant", cval=0)``: the spline is
    mirrored about the outermost samples, and what comes from outside them is zero.

    Args:
        array: (H, W), at least 2 samples a side.
        shift: rows down and columns to the right.

    Returns:
        (H, W) float64.
    """
    rows = _shift_matrix(array.shape[0], shift[0])
    columns = _shift_matrix(array.shape[1], shift[1])
    return rows @ np.asarray(array, np.float64) @ columns.T


def _shift_matrix(length: int, shift: float) -> np.ndarray:
    """(length, length): old samples to moved ones."""
    coefficients = _spline_coefficients(length)
    moved = np.zeros((length, length))
    for row in range(length):
        place = row - shift
        if 0 <= place <= length - 1:
            start = int(np.floor(place))
            t = place - start
            taps = ((1 - t) ** 3 / 6, (4 - 6 * t ** 2 + 3 * t ** 3) / 6,
                    (1 + 3 * t + 3 * t ** 2 - 3 * t ** 3) / 6, t ** 3 / 6)
            for k, tap in enumerate(taps):
                moved[row] += tap * coefficients[_mirrored(start - 1 + k, length)]
    return moved


def _spline_coefficients(length: int) -> np.ndarray:
    """(length, length): samples to the coefficients of the spline through them.

    The recursive filter of Unser, Aldroubi and Eden 1993 (box 2), run on unit impulses.
    """
    c = np.eye(length) * ((1 - _POLE) * (1 - 1 / _POLE))
    # The sum over the samples and their endless mirror images, in closed form.
    powers = _POLE ** np.arange(length)
    images = _POLE ** (2 * length - 2 - np.arange(length))
    weights = powers + images
    weights[0], weights[-1] = 1, powers[-1]
    c[0] = weights @ c / (1 - _POLE ** (2 * length - 2))
    for row in range(1, length):
        c[row] += _POLE * c[row - 1]
    c[-1] = (_POLE / (_POLE ** 2 - 1)) * (_POLE * c[-2] + c[-1])
    for row in range(length - 2, -1, -1):
        c[row] = _POLE * (c[row + 1] - c[row])
    return c


def _mirrored(index: int, length: int) -> int:
    index = abs(index) % (2 * length - 2)
    return min(index, 2 * length - 2 - index)


def cubic_resize(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes by point samples of the cubic interpolation with a = -0.75.

    Equals OpenCV's ``INTER_CUBIC``: centres are aligned, edges repeated, and nothing is averaged
    when a picture shrinks, whatever that skips.

    Args:
        array: (H, W).
        size: (rows, columns) of the result.

    Returns:
        `size` float64.
    """
    rows = _resize_matrix(array.shape[0], size[0])
    columns = _resize_matrix(array.shape[1], size[1])
    return rows @ np.asarray(array, np.float64) @ columns.T


def _resize_matrix(old: int, new: int) -> np.ndarray:
    places = (np.arange(new) + 0.5) * (old / new) - 0.5
    starts = np.floor(places).astype(int)
    t = places - starts
    taps = np.stack([_outer(1 + t), _inner(t), _inner(1 - t), _outer(2 - t)], 1)
    matrix = np.zeros((new, old))
    for k in range(4):
        np.add.at(matrix, (np.arange(new), np.clip(starts - 1 + k, 0, old - 1)), taps[:, k])
    return matrix


def _inner(x: np.ndarray) -> np.ndarray:
    return ((_A + 2) * x - (_A + 3)) * x * x + 1


def _outer(x: np.ndarray) -> np.ndarray:
    return ((_A * x - 5 * _A) * x + 8 * _A) * x - 4 * _A
