"""Fixtures shared by the tests of commands."""

from __future__ import annotations

import io
import json
from pathlib import Path

import denoise_raw_weights
import denoise_weights
import pytest
from upscale_weights import make

from restore_cli.cli.app import main
from restore_cli.console import Console


@pytest.fixture
def restore():
    """Runs a command line; returns (status, stdout, stderr)."""

    def run(*argv):
        out, err = io.BytesIO(), io.StringIO()
        status = main([str(arg) for arg in argv], Console(io.BytesIO(), out, err, {}))
        return status, out.getvalue().decode(), err.getvalue()

    return run


class Result:
    """What one command line did."""

    def __init__(self, status: int, console: Console):
        self.status = status
        self.stdout = console.stdout.getvalue()
        self.stderr = console.stderr.getvalue()

    @property
    def records(self) -> list[dict]:
        return [json.loads(line) for line in self.stdout.decode().splitlines()]


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """Makes weight files by the names of `upscale_weights`."""
    folder = tmp_path_factory.mktemp("weights")
    return lambda name="liif": make(folder, name)


@pytest.fixture
def upscale(tmp_path, monkeypatch, weights):
    """Runs `restore upscale` in tmp_path with a small network; returns a `Result`."""
    monkeypatch.chdir(tmp_path)

    def go(*arguments, stdin: bytes = b"", network: str | None = "liif") -> Result:
        console = Console(io.BytesIO(stdin), io.BytesIO(), io.StringIO(), environ={})
        chosen = ["-w", str(weights(network))] if network else []
        words = ["upscale", *map(str, arguments), *chosen, "--device", "cpu"]
        return Result(main(words, console), console)

    return go


@pytest.fixture(scope="session")
def denoisers(tmp_path_factory):
    """Makes weight files by the names of `denoise_weights`."""
    folder = tmp_path_factory.mktemp("denoisers")
    return lambda name, *rest: denoise_weights.make(folder, name, *rest)


@pytest.fixture
def denoise(tmp_path, monkeypatch, denoisers):
    """Runs `restore denoise` in tmp_path, with small patches where it trains; a `Result`."""
    from restore_cli.jobs import denoise_network, denoise_train

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(denoise_train, "PATCH", 16)
    monkeypatch.setattr(denoise_train, "DEPTH", 8)
    monkeypatch.setattr(denoise_train, "BATCH", {2: 2, 3: 1})
    generic = {}
    monkeypatch.setattr(denoise_network, "generic", lambda channels, console: generic.get(channels))

    def go(*arguments, stdin: bytes = b"", network: str | None = None) -> Result:
        console = Console(io.BytesIO(stdin), io.BytesIO(), io.StringIO(), environ={})
        chosen = ["-w", str(denoisers(network))] if network else []
        words = ["denoise", *map(str, arguments), *chosen, "--device", "cpu"]
        return Result(main(words, console), console)

    go.generic = generic
    return go


@pytest.fixture(scope="session")
def raw_weights(tmp_path_factory):
    """Makes weight files by the names of `denoise_raw_weights`."""
    folder = tmp_path_factory.mktemp("raw-weights")
    return lambda name="unet", *rest, **options: denoise_raw_weights.make(
        folder, name, *rest, **options)


@pytest.fixture
def denoise_raw(tmp_path, monkeypatch, raw_weights):
    """Runs `restore denoise-raw` in tmp_path with a small network; a `Result`."""
    monkeypatch.chdir(tmp_path)

    def go(*arguments, stdin: bytes = b"", network: str | Path | None = "unet") -> Result:
        console = Console(io.BytesIO(stdin), io.BytesIO(), io.StringIO(), environ={})
        path = raw_weights(network) if isinstance(network, str) else network
        chosen = ["-w", str(path)] if path else []
        words = ["denoise-raw", *map(str, arguments), *chosen, "--device", "cpu"]
        return Result(main(words, console), console)

    return go
