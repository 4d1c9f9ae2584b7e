"""Learning rates as functions of the step alone, so that a resumed run needs no extra state."""

from __future__ import annotations

import math
from typing import Callable, Sequence

Schedule = Callable[[int], float]


def cosine(peak: float, steps: int, warmup: int = 0, final: float = 0.0) -> Schedule:
    """Half a cosine from `peak` to `final` over `steps` (SGDR, ICLR 2017, without restarts).

    The first `warmup` steps rise linearly.
    """

    def rate(step: int) -> float:
        if step < warmup:
            return peak * (step + 1) / warmup
        done = min(1.0, (step - warmup) / max(1, steps - warmup))
        return final + (peak - final) * 0.5 * (1 + math.cos(math.pi * done))

    return rate


def stepwise(start: float, milestones: Sequence[int], factor: float = 0.5) -> Schedule:
    """`start`, multiplied by `factor` at each milestone step."""

    def rate(step: int) -> float:
        return start * factor ** sum(step >= m for m in milestones)

    return rate
