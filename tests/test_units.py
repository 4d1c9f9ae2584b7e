"""Amounts as messages show them."""

from __future__ import annotations

import pytest

from restore_cli import units
from restore_cli.pipeline import memory


@pytest.mark.parametrize("size, text", [
    (0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (999.7, "1.0 kB"), (1000, "1.0 kB"),
    (99_949, "99.9 kB"), (99_950, "100 kB"), (999_499, "999 kB"), (999_500, "1.0 MB"),
    (6_140_000, "6.1 MB"), (740e6, "740 MB"), (1 << 30, "1.1 GB"), (2e12, "2.0 TB"),
    (5e15, "5000 TB"),
])
def test_bytes(size, text):
    assert units.show(size) == text


@pytest.mark.parametrize("size", [2_049_000, 26_440_000, 999_499_000, 1_049_999_999, 64 << 30])
def test_what_a_message_asks_for_is_enough_when_typed(size):
    assert memory.parse(units.show(size)) >= size
