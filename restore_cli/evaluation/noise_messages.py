"""What the measured noise means for denoising: one plain line each, with what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from restore_cli.evaluation.noise import NoiseReport

# The mean of noise that is cut off at a limit is not zero: it moves by 0.4 sigma in areas at the
# limit. A few such pixels are in most photographs with strong noise.
CLIPPED = 0.05
# Noise correlates between channels after demosaicing with colour differences (0.5 and more) or in
# JPEG with coarse colour. Independent noise of 5 of 255 in ten photographs: 0.01 to 0.31, where
# texture is common to the channels; of 10: up to 0.19.
CROSS_CHANNEL = 0.35
_CROSS_LEVELS = 2.5  # of 255; weaker noise cannot be told from texture
# Share of the noise still there in flat areas. Non-local means and total variation left 0.07 to
# 0.46 of white noise, 0.63 on grass.
KEPT = 0.5
# Correlation of what was removed: -0.17 to 0.16 for white noise of 10 and 25 of 255 that non-local
# means, total variation or a Gaussian filter took from four photographs.
REMOVED_CORRELATED = 0.2
REMOVED_DIRECTIONAL = 0.1
_ONE_WAY = 2.5


def warnings(report: NoiseReport, *, jpeg: bool = False, struct: str | None = None,
             shared: bool = False) -> list[str]:
    """Warnings for the user about what blind-spot denoising cannot do with this picture.

    Args:
        report: from `analyse`.
        jpeg: the input is a JPEG file.
        struct: the `--struct` in use, so that it is not advised again.
        shared: the same pixels are already masked in all channels.

    Returns:
        Single lines without a trailing full stop, most important first; empty when there is
        nothing to say.
    """
    if report.constant:
        return ["all pixels have the same value: there is nothing to denoise"]
    if report.clean and (jpeg or report.jpeg_grid is not None):
        return ["JPEG has smoothed away the noise of single pixels, the only kind that blind-spot "
                "training removes: nothing to gain; use the untouched RAW with restore denoise-raw "
                "or the file before JPEG"]
    if report.clean:
        return [f"already clean: noise of {_levels(report)} is less than can be seen; denoising "
                "would only blur, nothing to gain"]
    lines = _spatial(report, jpeg, struct) + _history(report, jpeg)
    if report.same_channels:
        if not shared:
            lines.append("all channels are the same picture (grey saved as colour): masking must "
                         "hide the same pixel in all of them; convert to grey")
    elif (abs(report.cross_channel or 0.0) > CROSS_CHANNEL and not shared
          and max(report.sigma) > _CROSS_LEVELS / 255 * report.span):
        lines.append(f"noise correlates between the colour channels ({report.cross_channel:.2f}): "
                     "mask the same pixel in all channels, or start from the untouched RAW with "
                     "restore denoise-raw")
    for share, end, result in ((report.saturated_low, "black", "too bright"),
                               (report.saturated_high, "white", "too dark")):
        if share > CLIPPED:
            lines.append(f"{share:.0%} of the pixels are cut off at {end}: noise there is "
                         f"one-sided and such areas come out {result}; use data before clipping "
                         "if there is any")
    return lines + _result(report, struct)


def _spatial(report: NoiseReport, jpeg: bool, struct: str | None) -> list[str]:
    across, down = report.correlation[0, 1], report.correlation[1, 0]
    if report.directional is not None:
        where, value = (("rows", across) if report.directional == "horizontal"
                        else ("columns", down))
        if struct == report.directional:
            return []
        return [f"noise correlates along {where} ({value:.2f}): use --struct {report.directional}"]
    if not report.correlated:
        return []
    if report.grain:
        text = ("noise comes in grains of several pixels, as after a camera's noise reduction: "
                "blind-spot training keeps it")
        return [text if jpeg or report.jpeg_grid is not None else
                text + "; use the untouched RAW with restore denoise-raw"]
    text = f"noise correlates between neighbouring pixels ({across:.2f} along rows, {down:.2f} "
    text += "along columns), so blind-spot training keeps much of it"
    if report.mosaic:
        return [text + "; the colours were interpolated from a sensor: use the untouched RAW with "
                "restore denoise-raw"]
    if report.enlarged:
        return [text + f"; the picture looks enlarged by about {report.enlarged:.2g}: use the file "
                "before resizing"]
    if jpeg or report.jpeg_grid is not None:
        return [text]
    return [text + "; use an earlier file (before resizing, smoothing or JPEG), or for camera "
            "pictures the untouched RAW with restore denoise-raw"]


def _history(report: NoiseReport, jpeg: bool) -> list[str]:
    if jpeg:
        return ["JPEG input: compression has changed the noise and part of it will stay; use the "
                "untouched RAW with restore denoise-raw or the file before JPEG"]
    if report.jpeg_grid is not None:
        row, column = report.jpeg_grid
        return [f"8x8 blocks of an earlier JPEG found (from row {row}, column {column}): "
                "compression has changed the noise; use the file before JPEG"]
    return []


def _result(report: NoiseReport, struct: str | None) -> list[str]:
    """What the restored picture adds to what the noisy one showed."""
    if report.residual is None:
        return []
    lines = []
    across, down = report.residual.correlation[0, 1], report.residual.correlation[1, 0]
    most, least = max(across, down), max(min(across, down), 0.0)
    if not report.correlated and most > REMOVED_DIRECTIONAL:
        direction, where = ("horizontal", "rows") if across > down else ("vertical", "columns")
        if most > _ONE_WAY * least:
            if struct != direction:
                lines.append(f"what was removed correlates along {where} ({most:.2f}): "
                             f"--struct {direction} would remove more")
        elif most > REMOVED_CORRELATED:
            lines.append("what was removed correlates between neighbouring pixels "
                         f"({across:.2f} along rows, {down:.2f} along columns): part of such noise "
                         "stays; use an earlier, unprocessed file")
    if report.residual.kept > KEPT:
        lines.append(f"about {report.residual.kept:.0%} of the noise is still in the result: it "
                     "looks like picture to the network; use --struct for noise in lines, else an "
                     "earlier, unprocessed file")
    return lines


def _levels(report: NoiseReport) -> str:
    return f"{max(report.sigma) / report.span * 255:.2f} of 255 levels"
