"""``restore weights`` from the command line, up to exit statuses."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import typer

from restore_cli.cli import weights as command
from restore_cli.console import Console
from restore_cli.errors import ExitStatus, RestoreError
from restore_cli.weights import files

GOLDEN = Path(__file__).parents[1] / "data" / "liif"
MANIFEST = """
[weights.tiny]
task = "upscale"
arch = "liif"
urls = ["{url}"]
licence = "BSD-3-Clause"
commercial = "yes"
source = "here"
training_data = "none"
config = {{ encoder_spec = {{ name = "edsr-baseline", args = {{ no_upsampling = true, n_resblocks = 2, n_feats = 16 }} }}, imnet_spec = {{ name = "mlp", args = {{ out_dim = 3, hidden_list = [64, 64] }} }} }}
[weights.tiny.scores]
"Set5 x2" = 30.5

[weights.gone]
task = "denoise"
arch = "edsr"
urls = ["file:///nowhere/gone.pth"]
licence = "MIT"
commercial = "no"
source = "nowhere"
training_data = "none"
config = {{}}
"""  # noqa: E501


@pytest.fixture
def restore(tmp_path, monkeypatch):
    """Runs a command line in an own cache; returns (status, stdout, stderr)."""
    manifest = tmp_path / "manifest.toml"
    manifest.write_text(MANIFEST.format(url=(GOLDEN / "liif_tiny.pth").as_uri()))
    monkeypatch.setenv("RESTORE_MANIFEST", str(manifest))
    monkeypatch.setenv("RESTORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("RESTORE_OFFLINE", raising=False)

    def run(*arguments):
        # Only this command: the others are not this test's business.
        app = typer.Typer(pretty_exceptions_enable=False)
        app.callback()(lambda: None)
        command.register(app)
        stdout, stderr = io.BytesIO(), io.StringIO()
        console = Console(stdout=stdout, stderr=stderr)
        try:
            app(args=["weights", *map(str, arguments)], obj=console)
            status = 0
        except SystemExit as stop:
            status = stop.code or 0
        except RestoreError as error:  # as restore_cli.cli.app.main does
            console.error(error)
            status = error.status
        return int(status), stdout.getvalue().decode(), stderr.getvalue()

    return run


def test_list(restore):
    status, out, _ = restore("list")
    assert status == 0
    assert any(line.split()[:4] == ["tiny", "upscale", "not", "fetched"]
               for line in out.splitlines())
    assert "BSD-3-Clause" in out
    _, out, _ = restore("list", "--task", "denoise")
    assert "gone" in out and "tiny" not in out


def test_list_as_json(restore):
    _, out, _ = restore("list", "--json")
    records = {record["name"]: record for record in map(json.loads, out.splitlines())}
    assert list(records) == ["tiny", "gone"]
    assert records["tiny"]["state"] == "not fetched" and records["tiny"]["path"] is None
    assert records["tiny"]["scores"] == {"Set5 x2": 30.5}
    assert records["gone"]["commercial"] == "no"


def test_fetch_path_verify_remove(restore):
    assert restore("path", "tiny")[0] == ExitStatus.WEIGHTS
    status, out, _ = restore("fetch", "tiny", "--no-progress")
    assert status == 0 and out.startswith("tiny: ")
    path = Path(out.removeprefix("tiny: ").strip())
    assert files.read(path).arch == "liif"
    assert restore("path", "tiny")[1].strip() == str(path)
    assert json.loads(restore("path", "tiny", "--json")[1]) == {"name": "tiny", "path": str(path)}
    assert restore("verify") == (0, "tiny: ok\n", "")
    path.write_bytes(path.read_bytes()[:-1])
    status, out, _ = restore("verify", "tiny")
    assert status == ExitStatus.WEIGHTS and out.startswith("tiny: damaged (has changed")
    assert restore("path", "tiny")[0] == ExitStatus.WEIGHTS
    status, out, _ = restore("remove", "tiny")
    assert status == 0 and "removed" in out and not path.exists()


def test_one_failure_does_not_stop_the_rest(restore):
    status, out, err = restore("fetch", "gone", "absent", "tiny", "--json")
    assert status == ExitStatus.WEIGHTS
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["status"] for record in records] == ["failed", "failed", "ok"]
    assert len([line for line in err.splitlines() if line.startswith("error:")]) == 2


def test_fetch_all_of_a_task(restore):
    assert restore("fetch", "--all", "--task", "upscale")[0] == 0
    assert restore("fetch", "--all")[0] == ExitStatus.WEIGHTS  # 'gone' is gone


def test_fetch_from_a_file_while_offline(restore, monkeypatch):
    monkeypatch.setenv("RESTORE_OFFLINE", "1")
    assert restore("fetch", "tiny", "--from", GOLDEN / "liif_tiny.pth")[0] == 0


@pytest.mark.parametrize("arguments", [
    ("fetch",), ("fetch", "tiny", "gone", "--from", "x.pth"), ("remove",), ("path",),
    ("convert",), ("convert", "x.pth", "--dtype", "int8"), ("dance",)])
def test_usage_errors(restore, arguments):
    assert restore(*arguments)[0] == ExitStatus.USAGE


@pytest.mark.parametrize("arguments", [("path", "tny"), ("verify", "tny"), ("remove", "tny")])
def test_unknown_names(restore, arguments):
    status, _, err = restore(*arguments)
    assert status == ExitStatus.WEIGHTS and "Did you mean tiny?" in err


def test_convert(restore, tmp_path):
    source = tmp_path / "my weights.pth"
    source.write_bytes((GOLDEN / "liif_tiny.pth").read_bytes())
    status, out, err = restore("convert", source, "--licence", "mine")
    assert status == 0 and "liif" in out and "not used by the network: encoder.sub_mean" in err
    found = files.read(tmp_path / "my weights.safetensors")
    assert found.metadata["licence"] == "mine" and found.metadata["source"] == "my weights.pth"


def test_convert_to_half_precision_as_json(restore, tmp_path):
    target = tmp_path / "half.safetensors"
    status, out, _ = restore("convert", GOLDEN / "edsr_tiny_x2_legacy.pt", "-o", target,
                             "--dtype", "float16", "--json")
    record = json.loads(out)
    assert status == 0 and record["arch"] == "edsr" and record["dtype"] == "float16"
    assert record["report"]["unused"][0] == "sub_mean.weight"
    assert target.stat().st_size < 0.7 * (GOLDEN / "edsr_tiny_x2_legacy.pt").stat().st_size
    smaller = tmp_path / "again.safetensors"
    assert restore("convert", target, "-o", smaller)[0] == 0  # our own files too
    assert files.read(smaller).config == files.read(target).config
    assert files.read(smaller).metadata == files.read(target).metadata


def test_convert_into_a_folder_and_over_files(restore, tmp_path):
    source = GOLDEN / "metasr_tiny_legacy.pth"
    assert restore("convert", source, "-o", tmp_path)[0] == 0
    target = tmp_path / "metasr_tiny_legacy.safetensors"
    before = target.read_bytes()
    status, _, err = restore("convert", source, "-o", tmp_path)
    assert status == ExitStatus.USAGE and "--overwrite" in err
    assert restore("convert", source, "-o", tmp_path, "--overwrite")[0] == 0
    assert target.read_bytes() == before
    assert restore("convert", target, "-o", target, "--overwrite")[0] == ExitStatus.USAGE
    assert restore("convert", source, "-o", tmp_path / "x.pth")[0] == ExitStatus.USAGE


@pytest.mark.parametrize("content", [b"", b"hello", b"<html>", b"PK\x03\x04", b"\x80\x02.",
                                     b"\x80\x04cos\nsystem\n."])
def test_files_that_are_no_checkpoint_give_one_line(restore, tmp_path, content):
    source = tmp_path / "bad.pth"
    source.write_bytes(content)
    status, out, err = restore("convert", source)
    assert status == ExitStatus.WEIGHTS and out == "" and len(err.splitlines()) == 1
    assert str(source) in err
    assert {path.name for path in tmp_path.iterdir()} == {"bad.pth", "manifest.toml"}


def test_missing_checkpoint(restore, tmp_path):
    status, _, err = restore("convert", tmp_path / "absent.pth")
    assert status == ExitStatus.WEIGHTS and "absent.pth: cannot be read" in err
