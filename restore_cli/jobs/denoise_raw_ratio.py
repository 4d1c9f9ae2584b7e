"""By how much a dark RAW picture is amplified before the network sees it.

The networks take a normally bright, very noisy picture, and are told its brightness by nothing
else. The rules, first that applies: a given ratio; a target exposure; the exposure of a reference
file; the picture's own brightness.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from restore_cli.errors import InputError, UsageError

REFERENCE_CAP = 300.0
"""Largest ratio that a reference gives, as in the published data sets."""

TARGET = 0.8
"""Brightness, of 1 at white, that the automatic rule gives to the 99th percentile."""

LARGEST = 1e5
_PERCENTILE = 99.0
_BLOCK = 8  # packed pixels: side of the blocks whose mean is looked at, so that noise averages out
_STRIP = 64  # rows of blocks looked at together


@dataclass(frozen=True)
class Span:
    """Ratios that weights were trained for, `low` to `high`."""

    low: float = 1.0
    high: float = 300.0

    def __str__(self) -> str:
        return f"{show(self.low)} to {show(self.high)}"


@dataclass(frozen=True)
class Chosen:
    """The ratio of one picture.

    Attributes:
        ratio: at least 1.
        rule: "given", "target exposure", "reference", "automatic" or "same for all".
        warnings: what the user should know about it, one sentence each.
    """

    ratio: float
    rule: str
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"x{show(self.ratio)} ({self.rule})"


@dataclass(frozen=True)
class Rule:
    """How ratios are chosen in one run.

    Attributes:
        ratio: of `--ratio`.
        target: of `--target-exposure`, ISO times seconds.
        reference: exposure of the `--reference` file, ISO times seconds.
    """

    ratio: float | None = None
    target: float | None = None
    reference: float | None = None

    def __post_init__(self) -> None:
        given = [option for option, value in (
            ("--ratio", self.ratio), ("--target-exposure", self.target),
            ("--reference", self.reference)) if value is not None]
        if len(given) > 1:
            raise UsageError(f"{given[0]} and {given[1]} contradict each other")
        if self.ratio is not None and not 1 <= self.ratio <= LARGEST:  # also refuses NaN
            raise UsageError(f"--ratio {self.ratio:g} is no number from 1 to {LARGEST:.0f}")
        if self.target is not None and not (0 < self.target < math.inf):
            raise UsageError(f"--target-exposure {self.target:g} is no positive number",
                             hint="Give ISO times seconds, such as 1600 for ISO 100 and 16 s")

    def of(self, raw: Any, known: Span) -> Chosen:
        """The ratio of one picture.

        Args:
            raw: a `media.raw.Raw`.
            known: the ratios that the weights know.

        Raises:
            InputError: the file does not say its exposure, is exposed longer than the target or
                the reference, or is black.
        """
        if self.ratio is not None:
            return _judged(Chosen(self.ratio, "given"), known)
        if self.target is not None:
            return _judged(Chosen(self._quotient(raw, self.target, "the target exposure"),
                                  "target exposure"), known)
        if self.reference is not None:
            found = self._quotient(raw, self.reference, "the reference")
            warnings = () if found <= REFERENCE_CAP else (
                f"the reference has {show(found)} times the exposure; amplified by "
                f"{show(REFERENCE_CAP)}",)
            return _judged(Chosen(min(found, REFERENCE_CAP), "reference", warnings), known)
        return automatic(raw, known)

    @staticmethod
    def _quotient(raw: Any, exposure: float, what: str) -> float:
        if not raw.exposure:
            raise InputError("does not say its ISO and exposure time", path=raw.path,
                             hint="Give the amplification with --ratio")
        found = exposure / raw.exposure
        if not 1 <= found <= LARGEST:
            raise InputError(
                f"has an exposure of {show(raw.exposure)} (ISO times seconds) and {what} "
                f"{show(exposure)}: a ratio of {show(found)}, which makes no sense",
                path=raw.path, hint="Give the amplification with --ratio")
        return found


def automatic(raw: Any, known: Span) -> Chosen:
    """The ratio that a picture's own brightness asks for.

    The 99th percentile of the greens' means over blocks of 8x8 packed pixels goes to `TARGET`,
    within the ratios that the weights know and never below 1. Weights that begin higher raise
    the ratio only as far as that percentile stays below white.

    Raises:
        InputError: no light at all.
    """
    light = brightness(raw.mosaic, raw.pattern, raw.black, raw.white)
    if light <= 0:
        raise InputError("holds no light: every part of it is at the black level or below",
                         path=raw.path, hint="Give --ratio to amplify it all the same")
    wanted = max(1.0, TARGET / light)
    found = min(max(wanted, min(known.low, 1 / light)), known.high)
    found = max(1.0, found)
    warnings: tuple[str, ...] = ()
    if wanted > known.high:
        warnings = (f"is so dark that it wants a ratio of {show(wanted)}, and the weights were "
                    f"trained for {known}; the result stays dark",)
    elif found < known.low * 0.999:
        warnings = (f"is too bright for the weights, which were trained for ratios of {known}",)
    return Chosen(found, "automatic", warnings)


def common(chosen: Sequence[Chosen]) -> Chosen:
    """One ratio for a batch: the smallest, so that no picture clips more than by its own."""
    least = min(chosen, key=lambda one: one.ratio)
    return replace(least, rule="same for all", warnings=())


def brightness(mosaic: np.ndarray, pattern: Any, black: np.ndarray, white: np.ndarray) -> float:
    """The 99th percentile of the mean of both greens over blocks of 8x8 packed pixels.

    Args:
        mosaic: (H, W) samples.
        pattern: where R, G1, B, G2 are (`.offsets`).
        black, white: (4,) levels in that order.

    Returns:
        Of 0 at black and 1 at white; negative where the samples are below black.
    """
    height, width = mosaic.shape[0] // 2, mosaic.shape[1] // 2
    tall, wide = min(_BLOCK, height), min(_BLOCK, width)
    rows, columns = height // tall, width // wide
    found = []
    for first in range(0, rows, _STRIP):
        count = min(_STRIP, rows - first)
        total = np.zeros((count, columns))
        for plane in (1, 3):
            row, column = pattern.offsets[plane]
            part = mosaic[2 * first * tall + row:2 * (first + count) * tall:2,
                          column:2 * columns * wide:2]
            means = part.reshape(count, tall, columns, wide).mean((1, 3), dtype=np.float64)
            total += (means - black[plane]) / (white[plane] - black[plane])
        found.append(total / 2)
    return float(np.percentile(np.concatenate(found), _PERCENTILE))


def show(number: float) -> str:
    """A number with four digits at most."""
    return f"{number:.0f}" if number >= 1000 else f"{number:.4g}"


def _judged(chosen: Chosen, known: Span) -> Chosen:
    if known.low * 0.999 <= chosen.ratio <= known.high * 1.001:
        return chosen
    line = (f"the ratio {show(chosen.ratio)} is outside the {known} that the weights were "
            "trained for")
    return replace(chosen, warnings=(*chosen.warnings, line))
