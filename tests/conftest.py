"""Fixtures shared by all tests."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def engine():
    """The started Jittor engine on CPU."""
    from restore_cli.runtime import engine as runtime_engine

    return runtime_engine.start("cpu")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real test files that cannot be redistributed; the test skips without it."""
    named = os.environ.get("RESTORE_TEST_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no shared test data (set RESTORE_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def golden():
    """Loads a golden case by name: arrays plus its `meta` as a dict."""

    def load(name: str, system: str = "liif"):
        path = DATA / system / f"{name}.npz"
        with np.load(path, allow_pickle=False) as file:
            case = dict(file)
        if "meta" in case:
            case["meta"] = json.loads(str(case["meta"]))
        return case

    return load
