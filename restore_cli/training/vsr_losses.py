"""The losses of self-supervised blind video super-resolution (Self-Blind-VSR, section 3.3).

High-resolution frames are never a target: the network's estimate of the blur makes smaller
inputs whose targets are the given frames (`blur_down`), and three terms keep the estimate a
plausible kernel.
"""

from __future__ import annotations

import jittor as jt
import numpy as np

from restore_cli.errors import ShapeError

BOUNDARIES, SPARSE, CENTRE = 0.5, 0.04, 1.0
"""Weights of the three kernel losses; both L1 losses weigh 1."""

_SIGMA, _STRENGTH, _FREE = 13.0, 30.0, 2
_TINY = 1e-8  # under the root, whose slope at 0 has no end


def penalty_mask(size: int = 13) -> np.ndarray:
    """What mass near a kernel's edge costs: 0 inside, growing in the outer two rings.

    Returns:
        float32 (1, 1, size, size).
    """
    line = np.arange(size) - size // 2
    bell = np.exp(-line.astype(np.float64) ** 2 / (2 * _SIGMA ** 2))
    bell = np.outer(bell, bell)
    mask = _STRENGTH * (1 - bell / bell.max())
    mask[_FREE:-_FREE, _FREE:-_FREE] = 0
    return mask[None, None].astype(np.float32)


def boundaries(kernel: jt.Var) -> jt.Var:
    """Mean of the kernels' absolute values times the penalty of their places.

    Args:
        kernel: (B, 1, K, K).
    """
    size = _check(kernel)
    return (kernel * jt.array(penalty_mask(size))).abs().mean()


def sparse(kernel: jt.Var) -> jt.Var:
    """Mean of the square roots of the kernels' absolute values; exact zeros have no gradient."""
    _check(kernel)
    size = kernel.abs()
    some = size > 0
    # The root of 0 has no derivative: it is taken of 1 instead, and then replaced by 0.
    roots = jt.sqrt(jt.ternary(some, size, jt.ones_like(size)))
    return jt.ternary(some, roots, jt.zeros_like(size)).mean()


def centre(kernel: jt.Var) -> jt.Var:
    """Mean squared distance, along rows and along columns, of the centres of mass from the middle.

    Args:
        kernel: (B, 1, K, K), each of positive sum; in pixels squared.
    """
    size = _check(kernel)
    places = jt.array(np.arange(size, dtype=np.float32))
    total = kernel.sum(dims=(1, 2, 3))
    row = (kernel * places.reshape(1, 1, size, 1)).sum(dims=(1, 2, 3)) / total
    column = (kernel * places.reshape(1, 1, 1, size)).sum(dims=(1, 2, 3)) / total
    middle = size // 2
    return ((row - middle).sqr() + (column - middle).sqr()).mean() / 2


def blur_down(frames: jt.Var, kernel: jt.Var, scale: int = 4) -> jt.Var:
    """Blurs each sample with its own kernel (correlation, edges repeat) and takes every
    `scale`-th pixel from the first.

    Differentiable in both arguments. Nothing of the size of the kernel times the frame is held.

    Args:
        frames: (B, C, H, W).
        kernel: (B, 1, K, K), K odd.

    Returns:
        (B, C, ceil(H / scale), ceil(W / scale)).

    Raises:
        ShapeError: of either.
    """
    size = _check(kernel)
    if len(frames.shape) != 4 or frames.shape[0] != kernel.shape[0]:
        raise ShapeError("frames", f"({kernel.shape[0]}, C, H, W)", tuple(frames.shape))
    batch, channels, height, width = frames.shape
    rows, columns = -(-height // scale), -(-width // scale)
    reach = size // 2
    shape = (batch, channels, rows, columns, size, size)
    # Places outside are moved onto the edge by the index itself, which repeats it without padding.
    taken = frames.reindex(list(shape), [
        "i0", "i1", _inside(f"i2*{scale}+i4-{reach}", "xshape2-1"),
        _inside(f"i3*{scale}+i5-{reach}", "xshape3-1")])
    weights = kernel.reshape(batch, 1, 1, 1, size, size).broadcast(shape)
    return (taken * weights).sum(dims=(4, 5))


def _inside(place: str, last: str) -> str:
    return f"({place})<0?0:({place})>({last})?({last}):({place})"


def _check(kernel: jt.Var) -> int:
    shape = tuple(kernel.shape)
    if len(shape) != 4 or shape[1] != 1 or shape[2] != shape[3] or shape[2] % 2 == 0:
        raise ShapeError("kernel", "(B, 1, K, K) with K odd", shape)
    return shape[2]


def end_point(difference: jt.Var, dim: int = 1) -> jt.Var:
    """How far flows end from where they should.

    Args:
        difference: of two flows; x and y along `dim`, which goes.
    """
    return jt.sqrt(difference.sqr().sum(dim=dim) + _TINY)
