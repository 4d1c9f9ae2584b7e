"""Fixtures of the weight tests."""

from __future__ import annotations

from pathlib import Path

import pytest

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture
def data() -> Path:
    """Small checkpoints saved by Jittor 1.3.11."""
    return DATA / "weights"


@pytest.fixture
def golden_file():
    """Path of a reference checkpoint by name."""
    return lambda name: DATA / "liif" / name
