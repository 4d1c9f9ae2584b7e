"""Draws pictures side by side with zoomed crops and difference maps."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from restore_cli.jobs.compare_view import Box, View

_PAPER, _INK, _FAINT = (250, 250, 250), (20, 20, 20), (95, 95, 95)
_MARKS = ((230, 25, 75), (0, 130, 200), (60, 150, 60), (245, 130, 48), (145, 30, 180),
          (0, 128, 128), (170, 110, 40), (128, 0, 0))
_GAP, _TEXT, _SMALL = 12, 17, 14
# Black, violet, red, yellow, white: each step is lighter than the last, so it also reads in grey.
_HEAT = np.array([(0, 0, 0), (80, 18, 123), (207, 68, 70), (251, 180, 40), (255, 255, 255)])
LEGEND = 46


@dataclass
class Sheet:
    """What goes onto the page.

    Attributes:
        views: the pictures, the reference first.
        captions: lines under each picture's name.
        crops: rectangles to show enlarged.
        zoom: how many page pixels a grid pixel gets in a crop.
        column: width of a column in page pixels.
        maps: difference map of each picture but the first; empty for none.
        gain: factor the maps are brightened by.
    """

    views: list[View]
    captions: list[list[str]]
    crops: list[Box] = field(default_factory=list)
    zoom: int = 4
    column: int = 640
    maps: list[np.ndarray] = field(default_factory=list)
    gain: float = 1.0


def fitted(grid: tuple[int, int], column: int) -> tuple[int, int]:
    """Size of a whole picture on the page: it fills the column but is never enlarged past it
    by more than whole factors, and no taller than twice its width."""
    width, height = grid
    scale = min(column / width, 2 * column / height)
    if scale >= 1:
        scale = max(1, int(scale))
    return max(1, round(width * scale)), max(1, round(height * scale))


def nice_gain(maps: list[np.ndarray]) -> float:
    """A power of two that brings the strong differences near white, 1 to 64."""
    strong = max((float(np.quantile(one, 0.995)) for one in maps), default=0.0)
    gain = 1.0
    while gain < 64 and strong * gain * 2 <= 1:
        gain *= 2
    return gain


def heat(values: np.ndarray) -> np.ndarray:
    """Values in [0,1] as colours: (h, w) gives (h, w, 3) uint8."""
    place = np.clip(values, 0, 1) * (len(_HEAT) - 1)
    parts = [np.interp(place, np.arange(len(_HEAT)), _HEAT[:, c]) for c in range(3)]
    return np.stack(parts, axis=2).round().astype(np.uint8)


def draw(sheet: Sheet) -> np.ndarray:
    """The page as (H, W, 3) uint8."""
    text, small = ImageFont.load_default(_TEXT), ImageFont.load_default(_SMALL)
    count = len(sheet.views)
    whole = fitted(sheet.views[0].grid, sheet.column)
    head = _GAP + _TEXT + 6 + max(len(lines) for lines in sheet.captions) * (_SMALL + 5) + 4
    crop_rows = [box.height * sheet.zoom + _SMALL + 8 + _GAP for box in sheet.crops]
    tail = whole[1] + LEGEND + _GAP if sheet.maps else 0
    wide = max([whole[0], *(box.width * sheet.zoom for box in sheet.crops)])
    step = max(wide, sheet.column) + _GAP
    page = Pillow.new("RGB", (_GAP + count * step, head + whole[1] + _GAP + sum(crop_rows) + tail),
                      _PAPER)
    pen = ImageDraw.Draw(page)
    for i, view in enumerate(sheet.views):
        left = _GAP + i * step
        pen.text((left, _GAP), _shortened(view.name, text, step - _GAP), _INK, font=text)
        for line, words in enumerate(sheet.captions[i]):
            pen.text((left, _GAP + _TEXT + 6 + line * (_SMALL + 5)),
                     _shortened(words, small, step - _GAP), _FAINT, font=small)
        page.paste(view.whole(whole), (left, head))
        _mark(pen, sheet.crops, (left, head), whole, view.grid, small)
        top = head + whole[1] + _GAP
        for number, box in enumerate(sheet.crops):
            _crop(page, pen, view, box, sheet.zoom, number, (left, top), small)
            top += crop_rows[number]
        if sheet.maps:
            _difference(page, pen, sheet, i, (left, top), whole, small)
    return np.asarray(page)


def _mark(pen, crops, corner, whole, grid, font) -> None:
    for number, box in enumerate(crops):
        color = _MARKS[number % len(_MARKS)]
        x, y = whole[0] / grid[0], whole[1] / grid[1]
        left, top = corner[0] + round(box.x * x), corner[1] + round(box.y * y)
        right = max(left + 3, corner[0] + round((box.x + box.width) * x) - 1)
        bottom = max(top + 3, corner[1] + round((box.y + box.height) * y) - 1)
        pen.rectangle((left, top, right, bottom), outline=color, width=2)
        label = str(number + 1)
        pen.rectangle((left, top, left + round(font.getlength(label)) + 7, top + _SMALL + 3), color)
        pen.text((left + 4, top), label, _PAPER, font=font)


def _crop(page, pen, view: View, box: Box, zoom: int, number: int, corner, font) -> None:
    color = _MARKS[number % len(_MARKS)]
    left, top = corner
    words = f"{number + 1}: {box.width}x{box.height} at {box.x},{box.y}, {zoom}x"
    pen.text((left, top), words, color, font=font)
    top += _SMALL + 8
    piece = view.cut(box)
    page.paste(piece.resize((box.width * zoom, box.height * zoom), Pillow.Resampling.NEAREST),
               (left, top))
    pen.rectangle((left - 1, top - 1, left + box.width * zoom, top + box.height * zoom),
                  outline=color)


def _difference(page, pen, sheet: Sheet, i: int, corner, whole, font) -> None:
    left, top = corner
    if i:
        colors = Pillow.fromarray(heat(sheet.maps[i - 1] * sheet.gain))
        page.paste(colors.resize(whole, Pillow.Resampling.NEAREST), corner)
        pen.text((left, top + whole[1] + 5), "difference to the first picture, "
                 f"{sheet.gain:g}x brighter", _FAINT, font=font)
        return
    # The first column has no difference to itself and holds the scale instead.
    width = min(whole[0], 320)
    ramp = Pillow.fromarray(heat(np.tile(np.linspace(0, 1, width), (16, 1))))
    pen.text((left, top), "difference, of 255 levels", _FAINT, font=font)
    page.paste(ramp, (left, top + _SMALL + 8))
    pen.rectangle((left - 1, top + _SMALL + 7, left + width, top + _SMALL + 24), outline=_FAINT)
    for share in (0, 0.5, 1):
        label = f"{255 * share / sheet.gain:.3g}" + (" or more" if share == 1 else "")
        place = left + share * (width - 1)
        reach = font.getlength(label)
        pen.text((max(left, place - reach * share), top + _SMALL + 28), label, _FAINT, font=font)


def _shortened(words: str, font, width: int) -> str:
    if font.getlength(words) <= width:
        return words
    keep = len(words)
    while keep > 4 and font.getlength(f"{words[:keep // 2]}...{words[-(keep // 2):]}") > width:
        keep -= 1
    return f"{words[:keep // 2]}...{words[-(keep // 2):]}"
