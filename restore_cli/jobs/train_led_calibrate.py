"""`restore train led --calibrate`: a camera's noise measured from flat and dark frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from restore_cli.console import Console
from restore_cli.errors import ExitStatus, InputError, UsageError


@dataclass
class LedCalibration:
    """Options of one calibration; see `restore train led --help`.

    Attributes:
        out: the camera file, .json.
        flats, darks: RAW files, or folders of them.
        name: of the camera; None takes what the files say.
    """

    out: Path
    flats: Sequence[Path]
    darks: Sequence[Path]
    name: str | None = None


def run(options: LedCalibration, console: Console) -> ExitStatus:
    """Measures a camera and writes what `--cameras` takes.

    Raises:
        UsageError: frames are missing.
        InputError: files that cannot be used, or of several cameras.
        OutputError: the camera file exists or cannot be written.
    """
    from restore_cli.media.atomic import atomic_path, check_target
    from restore_cli.training import calibration
    from restore_cli.training.datasets import raw_files

    if options.out.suffix != ".json":
        raise UsageError("--calibrate writes a camera file; its name ends in .json",
                         path=options.out)
    for option, paths in (("--flats", options.flats), ("--darks", options.darks)):
        if not paths:
            raise UsageError(f"--calibrate needs {option}",
                             hint="RAW files, or folders of them; --flats are evenly lit, "
                                  "--darks without light")
    check_target(options.out)
    flats, darks = (_files(paths, raw_files.files_in) for paths in (options.flats, options.darks))
    names: set[str] = set()
    found = calibration.calibrate(_frames(flats, names, console), _frames(darks, names, console),
                                  name=options.name or _first_name([*flats, *darks]))
    if len(names) > 1 and options.name is None:
        raise InputError("the frames are of several cameras: " + ", ".join(sorted(names)),
                         hint="Calibrate one camera at a time")
    with atomic_path(options.out) as temporary:
        temporary.write_text(found.camera.to_json(), encoding="utf-8")
    for line in found.lines():
        console.info(line)
    for note in found.notes:
        console.warn(note)
    console.result(f"{options.out}", {
        "camera": found.camera.name, "file": str(options.out), "iso": [v.iso for v in found.levels],
        "gain": [v.gain.gain for v in found.levels], "notes": list(found.notes)})
    return ExitStatus.OK


def _files(paths: Sequence[Path], files_in) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        found += files_in(path) if path.is_dir() else [path]
    return found


def _first_name(paths: Sequence[Path]) -> str:
    """The camera of the first file that can be read."""
    from restore_cli.media import raw

    for path in paths:
        try:
            return raw.read(path).camera or "unnamed camera"
        except InputError:
            continue  # told when the frames are measured
    return "unnamed camera"


def _frames(paths: Sequence[Path], names: set[str], console: Console) -> Iterator:
    from restore_cli.training.calibration_frames import Frame
    from restore_cli.training.datasets import raw_files

    for path in console.progress(paths, desc="measuring", unit="file"):
        try:
            frame = raw_files.read(path)
        except InputError as error:
            console.warn(f"left out: {error}")
            continue
        if frame.camera:
            names.add(frame.camera)
        yield Frame(frame.packed, frame.iso or 0.0, frame.black, frame.white, str(path))
