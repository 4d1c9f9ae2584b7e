"""Films as pictures in files: folders, ``frame_%05d.png`` patterns and lists of files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np

from restore_cli.errors import InputError, OutputError, UsageError
from restore_cli.media import images, samples
from restore_cli.media.formats import format_for
from restore_cli.media.metadata import Metadata
from restore_cli.media.model import Image
from restore_cli.media.video_model import Colour, Frame, VideoInfo

RATE = Fraction(25)
DEFAULT_NAME = "frame_%05d.png"
_EXTENSIONS = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".jxl", ".bmp", ".ppm", ".pgm",
               ".pnm"}
_PLACE = re.compile(r"%(0?)(\d*)d")


def is_pattern(name: str | Path) -> bool:
    """Whether a file name has one place for a number, such as ``%05d``."""
    return len(_PLACE.findall(Path(name).name.replace("%%", ""))) == 1


def numbered(pattern: str | Path, number: int) -> Path:
    """The file name that a pattern makes of a number."""
    pattern = Path(pattern)
    found = _PLACE.search(pattern.name)
    if found is None:
        raise UsageError("has no place for the frame number", path=pattern,
                         hint="Write it as in frame_%05d.png")
    width = int(found[2] or 0)
    digits = f"{number:0{width}d}" if found[1] else f"{number:{width}d}"
    name = pattern.name[:found.start()] + digits + pattern.name[found.end():]
    return pattern.with_name(name.replace("%%", "%"))


def listed(source: str | Path | Sequence[str | Path]) -> tuple[list[Path], tuple[str, ...]]:
    """The files of a folder (in natural order), a pattern (by number), or a list (as given).

    Returns:
        The files, and a note when numbers of a pattern are missing.

    Raises:
        InputError: there is no picture.
    """
    if not isinstance(source, (str, Path)):
        files = [Path(one) for one in source]
        if not files:
            raise InputError("no frames were given")
        return files, ()
    path = Path(source)
    if path.is_dir():
        files = sorted((one for one in path.iterdir()
                        if one.suffix.lower() in _EXTENSIONS and one.is_file()
                        and not one.name.startswith(".")), key=_natural)
        if not files:
            raise InputError("there are no pictures in this folder", path=path)
        return files, ()
    if not is_pattern(path):
        raise InputError("no such folder", path=path)
    return _matching(path)


def are_in(folder: Path) -> bool:
    """Whether a folder is a film: it has pictures that can be its frames."""
    try:
        listed(folder)
    except InputError:
        return False
    return True


def _matching(pattern: Path) -> tuple[list[Path], tuple[str, ...]]:
    place = _PLACE.search(pattern.name)
    assert place is not None
    before, after = (part.replace("%%", "%") for part in
                     (pattern.name[:place.start()], pattern.name[place.end():]))
    wanted = re.compile(re.escape(before) + r"( *\d+)" + re.escape(after))
    if not pattern.parent.is_dir():
        raise InputError("no such folder", path=pattern.parent)
    numbers = sorted(int(found[1]) for one in pattern.parent.iterdir()
                     if (found := wanted.fullmatch(one.name))
                     and numbered(pattern, int(found[1])).name == one.name)
    if not numbers:
        raise InputError("no file matches this pattern", path=pattern)
    missing = numbers[-1] - numbers[0] + 1 - len(numbers)
    notes = (f"{missing} numbers between {numbers[0]} and {numbers[-1]} are missing; the frames "
             "there are taken as following each other",) if missing else ()
    return [numbered(pattern, one) for one in numbers], notes


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part)
            for part in re.split(r"(\d+)", path.name)]


class FrameFolder:
    """An iterator over pictures as frames of a film; also a context manager.

    Args:
        source: a folder, a pattern, or the files in order.
        rate: frames a second.
        start, end: numbers, from 0, of the first picture wanted and of the one after the last.

    Attributes:
        info: the film they make; `time_base` is one frame.
        files: all files of the film.
        metadata: of the first picture (colour profile and so on).

    Raises:
        InputError: no pictures, or one is damaged or of another size than the first.
    """

    def __init__(self, source: str | Path | Sequence[str | Path], *, rate: Fraction = RATE,
                 start: int | None = None, end: int | None = None):
        self.files, notes = listed(source)
        first = images.read(self.files[0])
        self.metadata = first.metadata
        self._deep = first.pixels.dtype != np.uint8
        if first.has_alpha:
            notes += ("transparency is not kept",)
        named = isinstance(source, (str, Path))
        self.info = VideoInfo(
            path=str(source) if named else str(self.files[0].parent), format="frames", index=-1,
            codec=first.format.lower(), width=first.width, height=first.height,
            sample_aspect=None, time_base=1 / Fraction(rate), frame_count=len(self.files),
            rate=Fraction(rate), start_pts=0, duration=len(self.files) / Fraction(rate),
            zero=Fraction(0), pixel_format="rgb48le" if self._deep else "rgb24",
            # As a film they are stored in the layout and colours every player knows.
            bits=16 if self._deep else 8, chroma="420", alpha=first.has_alpha,
            colour=Colour(range=1, matrix=1, primaries=1, transfer=1, used=1), notes=notes)
        self._end = end
        self.go_on(start or 0)

    def go_on(self, start: int, first: int | None = None) -> None:
        """Gives, instead of what was asked for, the frames from `start` up to the same end.

        Args:
            first: that frame's time, which needs no looking for here.
        """
        self._numbers = iter(range(*slice(start, self._end).indices(len(self.files))))

    @property
    def problems(self) -> tuple[str, ...]:
        """Always empty: a damaged picture is an error."""
        return ()

    def close(self) -> None:
        """Gives no further frames."""
        self._numbers = iter(())

    def __enter__(self) -> FrameFolder:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        number = next(self._numbers)
        image = images.read(self.files[number])
        if (image.width, image.height) != (self.info.width, self.info.height):
            raise InputError(f"is {image.width}x{image.height}, the first frame is "
                             f"{self.info.width}x{self.info.height}", path=self.files[number],
                             hint="Frames of one film need one size")
        return Frame(number, number, self.info.time_base, 1, _rgb(image, self._deep))


def _rgb(image: Image, deep: bool) -> np.ndarray:
    pixels = samples.to_depth(image.color, np.dtype(np.uint16 if deep else np.uint8))
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    return np.ascontiguousarray(pixels)


class FrameWriter:
    """A context manager that writes frames as pictures, each whole or not at all.

    Args:
        target: a folder (made when missing), or a pattern.
        names: gives the file name of the n-th frame written, from 0; for a folder only.
        first: the number of the first frame in a pattern or the default name.
        metadata: written into every picture.
        overwrite: replace existing pictures.
        png_level: effort, as `images.write` takes it.

    Raises:
        UsageError: the pattern's extension names no format that can be written.
        OutputError: a file exists, or cannot be written.
    """

    def __init__(self, target: str | Path, *, names: Callable[[int], str] | None = None,
                 first: int = 1, metadata: Metadata | None = None, overwrite: bool = False,
                 png_level: int | None = None):
        self._target, self._first = Path(target), first
        self._pattern = is_pattern(target) and not self._target.is_dir()
        if self._pattern:
            format_for(self._target)
        elif self._target.exists() and not self._target.is_dir():
            raise OutputError("is a file, not a folder", path=self._target)
        self._names = names
        self._metadata = metadata or Metadata()
        self._overwrite, self._png_level = overwrite, png_level
        self._count = 0
        self.notes: tuple[str, ...] = ()

    def path(self, number: int) -> Path:
        """The file of the n-th frame written, from 0."""
        if self._pattern:
            return numbered(self._target, self._first + number)
        if self._names is not None:
            return self._target / self._names(number)
        return numbered(self._target / DEFAULT_NAME, self._first + number)

    def __enter__(self) -> FrameWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Nothing is open between frames."""

    def write(self, rgb: np.ndarray, pts: int = 0, duration: int = 0) -> None:
        """Writes a frame, (H, W, 3) uint8 or uint16; pictures hold no times."""
        image = Image(rgb, metadata=self._metadata)
        notes = images.write(self.path(self._count), image, png_level=self._png_level,
                             overwrite=self._overwrite)
        self.notes += tuple(one for one in notes if one not in self.notes)
        self._count += 1
