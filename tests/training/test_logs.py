"""Training logs: rows, resuming, TensorBoard events, curves."""

from __future__ import annotations

import io
import math
import sys
from contextlib import closing

import pytest

from restore_cli.console import Console
from restore_cli.errors import InputError, OutputError
from restore_cli.training.logs import TrainingLog, plot_curves, read_log


def _log(folder, step=0):
    return closing(TrainingLog(folder, step))


def test_rows_of_one_step_become_one(tmp_path):
    with _log(tmp_path) as log:
        log.row(10, loss=0.5, lr=1e-4)
        log.row(20, loss=0.25, lr=1e-4)
        log.row(20, psnr_x2=31.5)
        log.row(30, loss=0.125, lr=5e-5)
        log.row(30, psnr_x2=32.0)
    text = (tmp_path / "log.csv").read_text()
    assert text == ("step,loss,lr,psnr_x2\n10,0.5,0.0001,\n20,0.25,0.0001,31.5\n"
                    "30,0.125,5e-05,32\n")
    assert read_log(tmp_path / "log.csv")[1] == {"step": 20, "loss": 0.25, "lr": 1e-4,
                                                 "psnr_x2": 31.5}


def test_resuming_drops_what_came_after(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with _log(whole) as log:
        for step in range(1, 7):
            log.row(step, loss=1 / step)
    with _log(killed) as log:
        for step in range(1, 6):
            log.row(step, loss=1 / step)
    with _log(killed, 3) as log:
        for step in range(4, 7):
            log.row(step, loss=1 / step)
    assert (killed / "log.csv").read_bytes() == (whole / "log.csv").read_bytes()


def test_a_row_may_be_completed_after_resuming(tmp_path):
    with _log(tmp_path) as log:
        log.row(1, loss=2)
        log.row(2, loss=1)
    with _log(tmp_path, 2) as log:
        log.row(2, psnr=30.5)
    assert read_log(tmp_path / "log.csv") == [{"step": 1, "loss": 2.0},
                                              {"step": 2, "loss": 1.0, "psnr": 30.5}]


def test_a_new_run_begins_a_new_log(tmp_path):
    with _log(tmp_path) as log:
        log.row(5, loss=1)
    with _log(tmp_path):
        pass
    assert read_log(tmp_path / "log.csv") == []


def test_a_row_cut_short_is_left_out(tmp_path):
    with _log(tmp_path) as log:
        log.row(1, loss=0.5, lr=1)
        log.row(2, loss=0.5, lr=1)
    path = tmp_path / "log.csv"
    path.write_bytes(path.read_bytes()[:-3])
    with _log(tmp_path, 7) as log:
        log.row(8, loss=0.25, lr=1)
    assert [row["step"] for row in read_log(path)] == [1, 8]


def test_values_that_are_not_finite_are_kept(tmp_path):
    with _log(tmp_path) as log:
        log.row(1, loss=math.nan, lr=math.inf)
    row, = read_log(tmp_path / "log.csv")
    assert math.isnan(row["loss"]) and math.isinf(row["lr"])


def test_a_foreign_file_is_not_overwritten_on_resume(tmp_path):
    (tmp_path / "log.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError):
        TrainingLog(tmp_path, 5)
    assert (tmp_path / "log.csv").read_text() == "a,b\n1,2\n"


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        TrainingLog(tmp_path / "file" / "run")


def test_event_files_hold_the_values(tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    with _log(tmp_path) as log:
        log.row(10, loss=0.5)
        log.row(20, loss=0.25)
    path, = (tmp_path / "tensorboard").iterdir()
    data, events, at = path.read_bytes(), [], 0
    while at < len(data):  # length (8), its checksum (4), the event, its checksum (4)
        length = int.from_bytes(data[at:at + 8], "little")
        events.append(Event.FromString(data[at + 12:at + 12 + length]))
        at += length + 16
    values = [(event.step, value.tag, value.simple_value) for event in events
              for value in event.summary.value]
    assert values == [(10, "loss", 0.5), (20, "loss", 0.25)]


def test_without_the_optional_packages(tmp_path, monkeypatch):
    for name in ("tensorboardX", "matplotlib", "matplotlib.figure",
                 "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    stderr = io.StringIO()
    console = Console(io.BytesIO(), io.BytesIO(), stderr, {})
    with closing(TrainingLog(tmp_path, 0, console)) as log:
        log.row(1, loss=1)
    assert plot_curves(tmp_path, console) == []
    notes = stderr.getvalue().splitlines()
    assert len(notes) == 2 and "tensorboardX" in notes[0] and "matplotlib" in notes[1]
    assert read_log(tmp_path / "log.csv") == [{"step": 1, "loss": 1.0}]


def test_curves(tmp_path):
    pytest.importorskip("matplotlib")
    from PIL import Image

    with _log(tmp_path) as log:
        for step in range(1, 301):
            log.row(step, loss=1 / step, lr=1e-4)
        log.row(300, psnr_x2=30.0, psnr_x4=25.0)
        log.row(400, psnr_x2=31.0, psnr_x4=26.0)
    assert [path.name for path in plot_curves(tmp_path)] == ["loss.png", "psnr.png"]
    for name in ("loss.png", "psnr.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.width > 500
            assert len(picture.convert("RGB").getcolors(1 << 20)) > 20


def test_no_log_no_curves(tmp_path):
    with pytest.raises(InputError):
        plot_curves(tmp_path)
