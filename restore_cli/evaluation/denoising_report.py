"""Results of denoising as means, tables, JSON records, CSV and plots, beside published figures."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restore_cli.evaluation import plots
from restore_cli.evaluation.denoising import DenoisingResult, Protocol
from restore_cli.evaluation.denoising_cases import MadeNoise
from restore_cli.evaluation.protocols import Score
from restore_cli.evaluation.report import (
    cells,
    columns,
    decibels,
    mean_score,
    numbers,
    score_record,
    signed,
)

CSV_COLUMNS = ("data", "noise", "level", "image", "width", "height", "peak", "psnr", "ssim",
               "affine_psnr", "noisy_psnr", "noisy_ssim", "noisy_affine_psnr", "seconds")


@dataclass(frozen=True)
class Published:
    """A figure somebody else measured by the same protocol, with Gaussian noise.

    Attributes:
        images: how many it is the mean of; it is shown beside as many only.
        sigma: standard deviation of the noise.
        ssim: None where none was stated.
    """

    protocol: str
    images: int
    sigma: float
    name: str
    psnr: float
    ssim: float | None = None


PUBLISHED = (
    Published("bsd68", 68, 25, "Noise2Void, paper (Krull et al. 2019)", 27.71),
    Published("bsd68", 68, 25, "BM3D, in the same paper", 28.59),
    Published("bsd68", 68, 25, "Noise2Void, its authors' notebook", 27.81),
    Published("bsd68", 68, 25, "Noise2Void, its authors' notebook, 8 flips and turns", 27.88),
    *(Published("source", 34, sigma, f"Noise2Void_jittor, {framework}", psnr, ssim)
      for sigma, framework, psnr, ssim in (
          (10, "PyTorch", 27.45, 0.7242), (10, "Jittor", 28.10, 0.7520),
          (25, "PyTorch", 23.89, 0.5086), (25, "Jittor", 23.89, 0.5031),
          (30, "PyTorch", 22.68, 0.4462), (30, "Jittor", 22.74, 0.4479),
          (50, "PyTorch", 19.49, 0.2998), (50, "Jittor", 19.30, 0.2994))),
)


@dataclass(frozen=True)
class Mean:
    """One row of the table: the mean of a set's per-image scores at one noise.

    Attributes:
        noise: None where it is that of the files.
        model: None when only the noisy images were scored.
    """

    data: str
    noise: MadeNoise | None
    images: int
    model: Score | None
    baseline: Score
    seconds: float

    @property
    def gain(self) -> float | None:
        """What the model gained in dB: of the affine PSNR where there is one."""
        return None if self.model is None else gain(self.model, self.baseline)


def gain(model: Score, baseline: Score) -> float:
    """Difference in dB of the affine PSNR where there is one, else of the PSNR."""
    return _main(model) - _main(baseline)


def means(results: Iterable[DenoisingResult]) -> list[Mean]:
    """Groups results by set and noise, in order of appearance."""
    groups: dict[tuple[str, MadeNoise | None], list[DenoisingResult]] = {}
    for result in results:
        groups.setdefault((result.case.data, result.case.noise), []).append(result)
    rows = []
    for (data, noise), group in groups.items():
        models = [result.model for result in group if result.model is not None]
        rows.append(Mean(data, noise, len(group), mean_score(models) if models else None,
                         mean_score([result.baseline for result in group]),
                         sum(result.seconds for result in group)))
    return rows


def published(rows: Sequence[Mean], protocol: str) -> list[Published]:
    """The published figures that stand for what the rows measured."""
    measured = {(row.images, row.noise.level) for row in rows
                if row.noise is not None and row.noise.kind == "gaussian"}
    return [figure for figure in PUBLISHED
            if figure.protocol == protocol and (figure.images, figure.sigma) in measured]


def table(rows: Sequence[Mean], model_name: str) -> str:
    """The means as text columns, the model beside the noisy images."""
    affine = any(row.baseline.affine is not None for row in rows)
    extra = ["affine"] if affine else []
    header = ["data", "noise", "images", "noisy", "SSIM", *extra]
    if any(row.model is not None for row in rows):
        header += [model_name, "SSIM", *extra, "gain", "s/image"]
    lines = []
    for row in rows:
        line = [row.data, row.noise.label if row.noise else "as given", str(row.images),
                *_cells(row.baseline)]
        if row.model is not None:
            line += [*_cells(row.model), signed(row.gain), f"{row.seconds / row.images:.2f}"]
        lines.append(line)
    return columns(header, lines, left=2)


def remarks(rows: Sequence[Mean], protocol: Protocol, notes: Sequence[str] = ()) -> str:
    """What stands under the table: published figures, then what readers must know."""
    text = ""
    figures = published(rows, protocol.name)
    if figures:
        lines = [[f"sigma {figure.sigma:g}", figure.name,
                  *cells(Score(figure.psnr, figure.ssim))] for figure in figures]
        text += ("\nPublished for BSD68 by this protocol, not measured here:\n"
                 + columns(["noise", "method", "PSNR", "SSIM"], lines, left=2) + "\n")
    return text + f"\nProtocol {protocol.name}:\n" + "\n".join(
        f"  - {note}" for note in (*protocol.notes, *notes))


def result_record(result: DenoisingResult) -> dict[str, Any]:
    """One image as a JSON object; infinite PSNR becomes null with ``"identical": true``."""
    height, width = result.size
    return {"type": "image", "data": result.case.data, **_noise_record(result.case.noise),
            "image": result.case.name, "clean": str(result.case.clean),
            "noisy": str(result.case.noisy) if result.case.noisy else None,
            "width": width, "height": height, "peak": result.peak,
            **score_record(result.model, ""), **score_record(result.baseline, "noisy_"),
            "seconds": round(result.seconds, 4)}


def mean_record(row: Mean, *, model: str, protocol: str) -> dict[str, Any]:
    """One row of the table as a JSON object."""
    return {"type": "mean", "data": row.data, **_noise_record(row.noise), "images": row.images,
            "model": model, "protocol": protocol, **score_record(row.model, ""),
            **score_record(row.baseline, "noisy_"), "seconds": round(row.seconds, 4)}


def remark_records(rows: Sequence[Mean], protocol: Protocol, notes: Sequence[str] = ()
                   ) -> list[dict[str, Any]]:
    """The published figures, then the protocol with its notes, as JSON objects."""
    return [*({"type": "published", "protocol": figure.protocol, "images": figure.images,
               "noise": "gaussian", "level": figure.sigma, "method": figure.name,
               "psnr": figure.psnr, "ssim": figure.ssim}
              for figure in published(rows, protocol.name)),
            {"type": "protocol", "protocol": protocol.name, "notes": [*protocol.notes, *notes]}]


def csv_text(results: Sequence[DenoisingResult]) -> str:
    """One line an image, then one line "mean" for each set and noise."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for result in results:
        height, width = result.size
        writer.writerow([result.case.data, *_noise_cells(result.case.noise), result.case.name,
                         width, height, f"{result.peak:g}", *_numbers(result.model),
                         *_numbers(result.baseline), f"{result.seconds:.4f}"])
    for row in means(results):
        writer.writerow([row.data, *_noise_cells(row.noise), "mean", "", "", "",
                         *_numbers(row.model), *_numbers(row.baseline), f"{row.seconds:.4f}"])
    return text.getvalue()


def plot(results: Sequence[DenoisingResult], folder: Path, *, model: str, protocol: str
         ) -> list[Path]:
    """Draws bars of the means by noise, and every image's gain in order of size."""
    rows = means(results)
    affine = any(row.baseline.affine is not None for row in rows)
    bars = [plots.Bar(row.data, row.noise.label if row.noise else "", _main(row.baseline),
                      None if row.model is None else _main(row.model)) for row in rows]
    several = len({row.data for row in rows}) > 1
    points = []
    for row in rows:
        gains = sorted(gain(result.model, result.baseline) for result in results
                       if result.model is not None
                       and (result.case.data, result.case.noise) == (row.data, row.noise))
        names = ([row.data] if several or row.noise is None else []) + (
            [row.noise.label] if row.noise else [])
        points += [plots.Point(", ".join(names), i + 1, value) for i, value in enumerate(gains)]
    return plots.draw(bars, points, folder, plots.Words(
        "noisy", model, protocol, "images in order of gain",
        "affine-fit PSNR" if affine else "PSNR"))


def _main(score: Score) -> float:
    return score.psnr if score.affine is None else score.affine


def _cells(score: Score) -> list[str]:
    return [*cells(score), *([] if score.affine is None else [decibels(score.affine)])]


def _numbers(score: Score | None) -> list[str]:
    affine = "" if score is None or score.affine is None else f"{score.affine:.4f}"
    return [*numbers(score), affine]


def _noise_record(noise: MadeNoise | None) -> dict[str, Any]:
    return {"noise": noise.kind if noise else "given", "level": noise.level if noise else None}


def _noise_cells(noise: MadeNoise | None) -> list[str]:
    return [noise.kind, f"{noise.level:g}"] if noise else ["given", ""]
