"""What is measured about the noise before and after, and what the user is told of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from restore_cli.evaluation import noise
from restore_cli.evaluation.noise_messages import CROSS_CHANNEL
from restore_cli.jobs.denoise_picture import Picture

PILED = 0.001  # share of pixels at a limit of the range: their noise is cut off
HALF = 0.5
SPIKES = 0.001  # share of lone outliers: Gaussian noise has next to none
PHOTONS = 0.2  # share of the noise's variance that follows the brightness
LEAST_STEPS = 100  # of a training whose loss is judged
_SIDE = 1024  # pixels of the middle that are looked at: enough to tell, and quick
HELD = 64 << 20
"""Bytes that looking takes, with two threads and four channels, rounded up; while the engine still
keeps what the last tile took."""


@dataclass(frozen=True)
class Measure:
    """Tells what can be told about noise in the light of one run.

    Attributes:
        struct: the `--struct` in use, or None.
        trains: networks are trained in this run, so that the masking can be chosen.
        threads: how many may be used.
    """

    struct: str | None = None
    trains: bool = True
    threads: int = 1

    def picture(self, picture: Picture, *, lossy: bool = False) -> Findings:
        """Measures the middle of an image.

        Args:
            picture: the noisy image, (C, H, W).
            lossy: the file was compressed with loss.
        """
        where = tuple(_middle(n) for n in picture.shape)
        found = noise.examine(picture.window(*where), scale=picture.top, threads=self.threads)
        return self._of(found, None, lossy)

    def result(self, picture: Picture, before: Findings, out: np.ndarray) -> Findings:
        """The same with what became of the noise.

        Args:
            picture: the noisy image, (C, H, W).
            before: its `picture`.
            out: the result, (H, W, channels).
        """
        where = tuple(_middle(n) for n in picture.shape)
        channels = [next(iter(target), index) for index, target in enumerate(picture.targets)]
        restored = np.stack([out[(*where, channel)] for channel in channels])
        report = before.examined.against(picture.window(*where), restored, threads=self.threads)
        return self._of(before.examined, report, before.lossy)

    def arrays(self, noisy: np.ndarray, restored: np.ndarray | None, top: float,
               lossy: bool = False) -> Findings:
        """The same for (C, H, W) arrays of stored values, the middle of them; `restored` where
        there is one already."""
        where = (slice(None), *(_middle(n) for n in noisy.shape[1:]))
        found = noise.examine(noisy[where], scale=top, threads=self.threads)
        report = None if restored is None else found.against(noisy[where], restored[where],
                                                             threads=self.threads)
        return self._of(found, report, lossy)

    def _of(self, examined: noise.Examined, report: noise.NoiseReport | None, lossy: bool
            ) -> Findings:
        report = report or examined.report
        across = abs(report.cross_channel or 0.0) > CROSS_CHANNEL
        shared = across and self.trains
        lines = noise.warnings(report, jpeg=lossy, struct=self.struct, shared=shared)
        return Findings(report, examined, tuple(lines), shared, lossy)


@dataclass(frozen=True)
class Findings:
    """What was measured.

    Attributes:
        report: of the noise, in stored values.
        examined: what the result can be compared with later.
        warnings: one sentence each, with what to do.
        shared: the channels share their noise, so the same pixels are hidden in all of them.
        lossy: the file was compressed with loss.
    """

    report: noise.NoiseReport
    examined: noise.Examined
    warnings: tuple[str, ...] = ()
    shared: bool = False
    lossy: bool = False

    @property
    def facts(self) -> dict[str, Any]:
        """For a record."""
        return {"noise": _plain(self.report), "warnings": list(self.warnings)}

    @property
    def gaussian(self) -> tuple[float, ...] | None:
        """Deviation of the noise of each channel in stored values if it is white, Gaussian and of
        one strength all over the picture, as far as can be measured; else None."""
        found = self.report
        if (self.shared or self.lossy or found.clean or found.constant or not found.judged
                or found.correlated or found.jpeg_grid or found.enlarged or found.mosaic
                or found.spikes > SPIKES or max(self.piled) > HALF):
            return None
        sigma = np.asarray(found.sigma)
        if (abs(np.asarray(found.offset) / sigma**2 - 1) > PHOTONS).any():
            return None
        return tuple(sigma.tolist())

    @property
    def piled(self) -> tuple[float, float]:
        """Share of pixels whose noise is cut off at the lowest and at the highest value."""
        found = self.report.saturated_low, self.report.saturated_high
        return tuple(share if share > PILED else 0.0 for share in found)

    def leak(self, loss: float, steps: int, std: np.ndarray) -> tuple[str, ...]:
        """A warning, unless it was given already, when a loss is below what noise allows.

        Args:
            loss: masked, in units of `std`, mean over the last tenth of a training.
            steps: of that training; the loss of a short one is a matter of chance.
            std: stored values that are 1 in the network's units, of each channel.
        """
        if steps < LEAST_STEPS or self.report.clean or self.report.correlated:
            return ()
        sigma = np.asarray(self.report.sigma) / np.where(std > 0, std, 1)
        line = noise.blind_floor(loss, (sigma**2).tolist())
        return (line,) if line else ()


def _middle(length: int) -> slice:
    start = max(0, (length - _SIDE) // 2)
    return slice(start, min(length, start + _SIDE))


def _plain(value: Any) -> Any:
    """A report as JSON can hold it; numbers to four digits, what is no number as null."""
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, dict):
        return {"x".join(map(str, key)): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if value is None or isinstance(value, (int, str)):
        return value
    number = float(value)
    return float(f"{number:.4g}") if math.isfinite(number) else None
