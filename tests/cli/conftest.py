"""Fixtures shared by the tests of commands."""

from __future__ import annotations

import io

import pytest

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
