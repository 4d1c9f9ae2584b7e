"""In which numbers the operators for CPUs take the inner products of their layers.

float32, or bfloat16 with sums in float32 (AVX512_BF16's VDPBF16PS): transformed tiles, hidden
vectors and weights are rounded to the nearest bfloat16; transforms, sums, biases and all that
lies between layers stay float32. Only without gradients.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

_half = _used = False


def half() -> bool:
    """Whether products are to be in bfloat16 now; for operators, which then do so."""
    global _used
    _used = _used or _half
    return _half


def chosen() -> bool:
    """The same, for those who only want to know."""
    return _half


def used() -> bool:
    """Whether an operator has taken such products since `using` began."""
    return _used


@contextlib.contextmanager
def using(bf16: bool) -> Iterator[None]:
    """Sets it for a while, for this process; weights that are packed already stay as they are."""
    global _half, _used
    before = _half, _used
    _half, _used = bf16, False
    try:
        yield
    finally:
        _half, _used = before
