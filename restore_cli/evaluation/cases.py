"""Finds the images to evaluate on, in the folder layouts that test sets come in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from restore_cli.errors import InputError
from restore_cli.media.formats import images_in
from restore_cli.media.samples import from_float, to_float
from restore_cli.training.degradations import bicubic

DEFAULT_SCALES = (2.0, 3.0, 4.0)

_LAYOUTS = ("Expected HR/ and LR_bicubic/X2/ …, files named *_HR and *_LR, folders x2/ x3/ … of "
            "such files, or a folder of high-resolution images")
_SCALE_FOLDER = re.compile(r"(?:image_SRF_|x)(\d+)$", re.IGNORECASE)
_SCALE_IN_NAME = re.compile(r"_(?:SRF_|x)(\d+)$", re.IGNORECASE)


@dataclass(frozen=True)
class Case:
    """One image at one scale.

    Attributes:
        data: name of the set it belongs to.
        name: the image's name without extension.
        scale: enlargement, high over low resolution.
        hr: the high-resolution file.
        lr: the low-resolution file; None means it is made from `hr` by Pillow's bicubic.
    """

    data: str
    name: str
    scale: float
    hr: Path
    lr: Path | None = None


def find(folder: Path, scales: Sequence[float] | None = None, *, label: str | None = None,
         on_error: Callable[[InputError], None] | None = None) -> list[Case]:
    """Lists what a test set's folder holds.

    Layouts: ``HR`` with ``LR_bicubic/X2`` … (also with a prefix, as ``DIV2K_valid_HR``), flat
    pairs ``*_HR.png`` and ``*_LR.png``, subfolders ``x2``, ``x3`` … of flat pairs, or only
    high-resolution images. A scale that has no low-resolution files is made from the
    high-resolution ones, those of the smallest scale where they differ between scales.

    Args:
        scales: the scales wanted; None means those with given pairs, else 2, 3 and 4.
        label: name of the set; None takes the folder's.
        on_error: told about pairs whose scale cannot be found out; None raises.

    Raises:
        InputError: not a folder, or nothing in it.
    """
    if not folder.is_dir():
        raise InputError("no such folder" if not folder.exists() else "is not a folder",
                         path=folder)
    label = label or folder.resolve().name
    pairs, sources = _upstream_layout(folder, label)
    if not sources:
        for place in [folder, *_scale_folders(folder)]:
            found, plain = _flat_layout(place, label, on_error)
            pairs += found
            sources = sources or plain
    if not pairs and not sources:
        raise InputError("no test images", path=folder, hint=_LAYOUTS)
    if scales is None:
        scales = sorted({case.scale for case in pairs}) or DEFAULT_SCALES
    if not sources:
        smallest = min(case.scale for case in pairs)
        sources = [case.hr for case in pairs if case.scale == smallest]
    cases: list[Case] = []
    for scale in scales:
        given = [case for case in pairs if case.scale == scale]
        made = [Case(label, _base(path), scale, path) for path in sources]
        cases += sorted(given or made, key=lambda case: case.name)
    return cases


def load(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Reads one case.

    Returns:
        (low, high): float32 (h, w, 3) and (H, W, 3) RGB in [0, 1]. Without a low-resolution file,
        with scale s: h = floor(H / s), the high-resolution image is cut at the top left to
        round(h * s), and `low` is its Pillow bicubic, in the file's bit depth. With one, the
        high-resolution image is cut to a whole multiple of it.

    Raises:
        InputError: unreadable, too small for the scale, or sizes that do not belong together.
    """
    high = _read_rgb(case.hr)
    if case.lr is None:
        return _make_low(high, case)
    low = _read_rgb(case.lr)
    (height, width), (rows, columns) = high.shape[:2], low.shape[:2]
    scale = height // rows
    if scale < 1 or width // columns != scale or scale != case.scale:
        raise InputError(f"{width}x{height} is not {case.scale:g} times {columns}x{rows} of "
                         f"{case.lr.name}", path=case.hr)
    return to_float(low), to_float(high[: rows * scale, : columns * scale])


def _make_low(high: np.ndarray, case: Case) -> tuple[np.ndarray, np.ndarray]:
    # 1e-9: H / s must not fall below a whole number by rounding.
    rows, columns = (int(side / case.scale + 1e-9) for side in high.shape[:2])
    if rows < 1 or columns < 1:
        raise InputError(f"{high.shape[1]}x{high.shape[0]} pixels are too few for "
                         f"x{case.scale:g}", path=case.hr)
    high = high[: round(rows * case.scale), : round(columns * case.scale)]
    if high.dtype == np.uint8:
        return to_float(bicubic.resize(high, (rows, columns))), to_float(high)
    low = np.clip(bicubic.resize(to_float(high), (rows, columns)), 0, 1)
    if high.dtype == np.uint16:
        low = to_float(from_float(low, np.uint16))
    return low, to_float(high)


def _read_rgb(path: Path) -> np.ndarray:
    """An image file as (H, W, 3) RGB of its own depth; grey is repeated, alpha dropped."""
    from restore_cli.media import images

    image = images.read(path)
    return np.repeat(image.color, 3, axis=2) if image.color.shape[2] == 1 else image.color


def _upstream_layout(folder: Path, label: str) -> tuple[list[Case], list[Path]]:
    """Pairs and high-resolution files of ``HR`` beside ``LR_bicubic/X2`` …"""
    children = sorted(child for child in folder.iterdir() if child.is_dir())
    high = [child for child in children if _ends_with(child.name, "HR")]
    if not high:
        return [], []
    sources = images_in(high[0])
    pairs = []
    for root in (child for child in children if _ends_with(child.name, "LR_bicubic")):
        for place in _scale_folders(root):
            scale = int(_SCALE_FOLDER.search(place.name).group(1))
            low = {path.stem: path for path in images_in(place)}
            for path in sources:
                names = [name for name in _low_names(_base(path), scale) if name in low]
                if not names:
                    raise InputError(f"has no counterpart in {place}", path=path,
                                     hint=f"Expected {_base(path)}x{scale}{path.suffix}")
                pairs.append(Case(label, _base(path), float(scale), path, low[names[0]]))
    return pairs, sources


def _flat_layout(folder: Path, label: str,
                 on_error: Callable[[InputError], None] | None) -> tuple[list[Case], list[Path]]:
    """Pairs ``*_HR``/``*_LR`` of one folder, or else its images as high-resolution ones."""
    files = images_in(folder)
    low = {path.stem[:-3]: path for path in files if path.stem.endswith("_LR")}
    high = [path for path in files if path.stem.endswith("_HR")]
    if not low:
        return [], high or files
    pairs = []
    for path in high:
        partner = low.get(path.stem[:-3])
        try:
            if partner is None:
                raise InputError("has no counterpart", path=path,
                                 hint=f"Expected {path.stem[:-3]}_LR{path.suffix} beside it")
            scale = _scale_of(path, partner)
        except InputError as error:
            if on_error is None:
                raise
            on_error(error)
            continue
        pairs.append(Case(label, _base(path), float(scale), path, partner))
    return pairs, []


def _scale_of(high: Path, low: Path) -> int:
    """The scale a pair of files is for, by name, else by their heights."""
    found = _SCALE_IN_NAME.search(_base(high)) or _SCALE_FOLDER.search(high.parent.name)
    if found:
        return int(found.group(1))
    scale = _read_rgb(high).shape[0] // _read_rgb(low).shape[0]
    if scale < 1:
        raise InputError(f"is smaller than {low.name}", path=high)
    return scale


def _scale_folders(folder: Path) -> list[Path]:
    found = [child for child in folder.iterdir()
             if child.is_dir() and _SCALE_FOLDER.fullmatch(child.name)]
    return sorted(found, key=lambda child: int(_SCALE_FOLDER.search(child.name).group(1)))


def _base(path: Path) -> str:
    return path.stem[:-3] if path.stem.endswith("_HR") else path.stem


def _low_names(base: str, scale: int) -> Iterable[str]:
    return (base, f"{base}x{scale}", f"{base}_x{scale}", f"{base}_LR", f"{base}x{scale}_LR")


def _ends_with(name: str, ending: str) -> bool:
    return name == ending or name.endswith(f"_{ending}")
