"""Learning rates of LED's published trainings, by step from 0."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

from restore_cli.training.schedules import Schedule


def milestones(start: float, steps: Sequence[int], values: Sequence[float]) -> Schedule:
    """`start`, then ``values[i]`` from step ``steps[i]`` on (the CVPR 2020 setting of ELD).

    Args:
        start: rate before the first milestone.
        steps: rising.
        values: one for each milestone.
    """

    def rate(step: int) -> float:
        passed = sum(step >= at for at in steps)
        return values[passed - 1] if passed else start

    return rate


def cosine_restarts(peak: float, periods: Sequence[int], weights: Sequence[float],
                    final: float) -> Schedule:
    """Half cosines one after the other (SGDR, ICLR 2017), as BasicSR computes them.

    Args:
        peak: rate at the beginning of a period of weight 1.
        periods: lengths in steps. The step on a border is still the last one of its period.
        weights: of the height above `final`, one a period.
        final: rate at the end of each period.
    """
    ends = list(accumulate(periods))

    def rate(step: int) -> float:
        index = next((i for i, end in enumerate(ends) if step <= end), len(ends) - 1)
        done = min(1.0, (step - (ends[index] - periods[index])) / periods[index])
        return final + weights[index] * 0.5 * (peak - final) * (1 + math.cos(math.pi * done))

    return rate


def published(setting: str, lr: float, steps: int) -> Schedule:
    """The schedule of a setting, stretched to `steps`.

    Args:
        setting: "cvpr20" (257,600 steps as published, from 1e-4) or "mm22" (289,800, from 2e-4).
        lr: rate at the start.
        steps: of the run.
    """
    if setting == "cvpr20":
        # A rate above the start makes no sense where a run starts lower than the published one.
        return milestones(lr, [steps // 2, steps * 9 // 10], [min(lr, 5e-5), min(lr, 1e-5)])
    # The published list has a third period that its number of steps never reaches.
    first = steps // 3
    return cosine_restarts(lr, [first, steps - first], [1.0, 0.5], min(lr, 1e-5))
