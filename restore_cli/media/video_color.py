"""Colour descriptions of video: their names in FFmpeg and what players assume without one."""

from __future__ import annotations

from dataclasses import replace

from restore_cli.media.video_model import Colour

UNSPECIFIED = 2
# Names of the code points of ITU-T H.273 in FFmpeg's options.
MATRICES = {0: "gbr", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m",
            8: "ycgco", 9: "bt2020nc", 10: "bt2020c"}
PRIMARIES = {1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film",
             9: "bt2020", 10: "smpte428", 11: "smpte431", 12: "smpte432", 22: "jedec-p22"}
TRANSFERS = {1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m",
             8: "linear", 9: "log100", 10: "log316", 11: "iec61966-2-4", 12: "bt1361e",
             13: "iec61966-2-1", 14: "bt2020-10", 15: "bt2020-12", 16: "smpte2084",
             17: "smpte428", 18: "arib-std-b67"}
RANGES = {1: "tv", 2: "pc"}
# Numbers that libswscale uses for the matrices it can convert.
_SCALER = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}


def assumed_matrix(width: int, height: int) -> int:
    """The matrix players assume for an undescribed picture of this size: BT.709 for HD."""
    return 1 if width >= 1280 or height > 576 else 6


def scaler_matrix(matrix: int) -> int:
    """libswscale's number for a matrix that `usable_matrix` returned."""
    return _SCALER[matrix]


def usable_matrix(matrix: int, width: int, height: int) -> int:
    """The matrix to decode with: the stated one if it can be converted, else the assumed one."""
    return matrix if matrix in _SCALER else assumed_matrix(width, height)


def described(colour: Colour, width: int, height: int, *, rgb: bool = False) -> Colour:
    """The description to write on a picture of another size.

    An unspecified matrix stays unspecified as long as players would assume the one that was
    used; enlarging to HD would change their guess and so the colours, so then it is stated.

    Args:
        colour: of the film.
        width, height: of the picture to write.
        rgb: the film is RGB: limited range and the matrix players assume are free to choose.
    """
    if rgb:
        used = assumed_matrix(width, height)
        return replace(colour, range=1, matrix=UNSPECIFIED, used=used)
    if colour.matrix == colour.used:
        return colour
    if colour.matrix == UNSPECIFIED and colour.used == assumed_matrix(width, height):
        return colour
    return replace(colour, matrix=colour.used)
