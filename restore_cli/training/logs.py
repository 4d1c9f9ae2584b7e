"""What a training run writes down: a CSV table, TensorBoard events, and curves as pictures."""

from __future__ import annotations

import csv
import io
import math
import os
from pathlib import Path

from restore_cli.console import Console
from restore_cli.errors import InputError
from restore_cli.media.atomic import atomic_path, output_error

CSV_NAME = "log.csv"
EVENTS_NAME = "tensorboard"

_EXTRA = "pip install 'restore-cli[train]' brings it"


class TrainingLog:
    """Values by step, in `log.csv` and, where tensorboardX is installed, in `tensorboard/`.

    What an earlier run logged after the step this one continues from is dropped, so that a run
    that was killed and continued has the log of one that was not.

    Use with `contextlib.closing`, or call `close`.

    Args:
        folder: of the run; made when absent.
        step: the step the run continues from; 0 begins a new log.
        console: told once when tensorboardX is missing.

    Raises:
        OutputError: the folder cannot be written.
    """

    def __init__(self, folder: Path | str, step: int = 0, console: Console | None = None):
        self.path = Path(folder) / CSV_NAME
        self._columns: list[str] = ["step"]
        self._last: dict[str, float] = {}
        self._last_start = 0
        rows = []
        if step > 0 and self.path.exists():
            rows = [row for row in read_log(self.path) if row["step"] <= step]
        self._rewrite(rows)
        self._events = _open_events(self.path.parent / EVENTS_NAME, step, console)

    def row(self, step: int, **values: float) -> None:
        """Note values reached at a step; a second call for the same step adds to its row.

        Args:
            step: counts updates, never falling.
            values: by name; any number.

        Raises:
            OutputError: the log cannot be written.
        """
        numbers = {name: float(value) for name, value in values.items()}
        if self._events is not None:
            for name, value in numbers.items():
                if math.isfinite(value):
                    self._events.add_scalar(name, value, step)
        same = self._last.get("step") == step
        row = {**self._last, **numbers} if same else {"step": step, **numbers}
        try:
            if set(row) <= set(self._columns):
                self._write(row, replace=same)
            else:
                rows = read_log(self.path)
                self._rewrite([*(rows[:-1] if same else rows), row])
        except OSError as error:
            raise output_error(error, self.path) from error

    def close(self) -> None:
        """Finish the event file."""
        if self._events is not None:
            self._events.close()
            self._events = None

    def _write(self, row: dict[str, float], replace: bool) -> None:
        """Append a row, or put it in the place of the last one."""
        with open(self.path, "r+b") as file:
            if replace:
                file.truncate(self._last_start)
            self._last_start = file.seek(0, os.SEEK_END)
            file.write(self._line(row))
        self._last = row

    def _rewrite(self, rows: list[dict[str, float]]) -> None:
        """The whole table anew, in one step."""
        for row in rows:
            self._columns += [name for name in row if name not in self._columns]
        lines = [self._line(dict(zip(self._columns, self._columns, strict=True)))]
        lines += [self._line(row) for row in rows]
        with atomic_path(self.path, overwrite=True) as temporary:
            temporary.write_bytes(b"".join(lines))
        self._last = rows[-1] if rows else {}
        self._last_start = sum(map(len, lines[:-1] if rows else lines))

    def _line(self, row: dict) -> bytes:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(
            [_cell(row.get(name, "")) for name in self._columns])
        return text.getvalue().encode()


def read_log(path: Path | str) -> list[dict[str, float]]:
    """The rows of a log, each with the values it has; a row cut short at the end is left out.

    Raises:
        InputError: no such file, or not a log.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            lines = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot be read as a training log: {error}", path=path) from error
    if not lines or lines[0][:1] != ["step"]:
        raise InputError("is not a training log", path=path,
                         hint="Move it away, or train in another folder")
    columns, rows = lines[0], []
    for line in lines[1:]:
        if len(line) != len(columns):
            continue
        try:
            values = {name: float(text) for name, text in zip(columns, line, strict=True) if text}
        except ValueError:
            continue
        if "step" in values:
            rows.append({**values, "step": int(values["step"])})
    return rows


def plot_curves(folder: Path | str, console: Console | None = None) -> list[Path]:
    """Draw the log of a folder: `loss.png`, `psnr.png` and so on, one picture a kind of value.

    Columns such as ``psnr_x2`` and ``psnr_x4`` come together in one picture. The learning rate is
    not drawn. Without matplotlib nothing is drawn, and the console says so.

    Returns:
        The pictures written.

    Raises:
        InputError: no log in the folder.
    """
    rows = read_log(Path(folder) / CSV_NAME)
    kinds: dict[str, list[str]] = {}
    for row in rows:
        for name in row:
            kind = name.split("_")[0].split("/")[0].lower()
            if name not in ("step", "lr") and name not in kinds.setdefault(kind, []):
                kinds[kind].append(name)
    if not kinds:
        return []
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        if console is not None:
            console.info(f"no curves drawn: matplotlib is not installed; {_EXTRA}")
        return []
    pictures = []
    for kind, names in kinds.items():
        figure = Figure(figsize=(7, 4.2), dpi=120, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        for name in names:
            _curve(axes, [(row["step"], row[name]) for row in rows
                          if math.isfinite(row.get(name, math.nan))], name)
        axes.set(xlabel="step", ylabel=f"{kind.upper()} (dB)" if kind == "psnr" else kind)
        if kind == "loss":
            axes.set_yscale("log")
        axes.grid(True, alpha=0.3)
        axes.legend(frameon=False)
        path = Path(folder) / f"{kind}.png"
        try:
            figure.savefig(path)
        except OSError as error:
            if console is not None:
                console.warn(f"{path}: cannot draw the curve: {error.strerror or error}")
            continue
        pictures.append(path)
    return pictures


def _curve(axes, points: list[tuple[float, float]], name: str) -> None:
    """One line; a long noisy one pale, with its running mean on top."""
    if not points:
        return
    steps, values = zip(*points, strict=True)
    if len(points) < 100:
        axes.plot(steps, values, marker="o", markersize=2.5, linewidth=1.2, label=name)
        return
    width = max(3, len(points) // 50)
    total, means = 0.0, []
    for i, value in enumerate(values):
        total += value - (values[i - width] if i >= width else 0)
        means.append(total / min(i + 1, width))
    line, = axes.plot(steps, values, linewidth=0.5, alpha=0.3)
    axes.plot(steps, means, linewidth=1.4, color=line.get_color(),
              label=f"{name} (mean of {width})")


def _open_events(folder: Path, step: int, console: Console | None):
    """A TensorBoard writer, or None when tensorboardX is not installed."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        if console is not None:
            console.info(f"no TensorBoard events: tensorboardX is not installed; {_EXTRA}")
        return None
    try:
        # purge_step hides what an earlier run wrote from that step on.
        return SummaryWriter(logdir=str(folder), purge_step=step + 1 if step else 0)
    except OSError as error:
        raise output_error(error, folder) from error


def _cell(value: float | str) -> str:
    """Shortest text that reads back as the same number."""
    if isinstance(value, str):
        return value
    return str(int(value)) if float(value).is_integer() else repr(value)
