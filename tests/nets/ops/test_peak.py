"""The rate of a convolution, measured. Nothing here asserts how large it is."""

from __future__ import annotations

import math

import pytest


def test_rates_are_numbers_and_none_where_there_is_no_algorithm(engine):
    from restore_cli.nets.ops import peak

    if not peak.usable():
        pytest.skip("no oneDNN on this machine")
    direct = peak.rate(16, (24, 20), "direct", repeat=2)
    assert direct > 0 and math.isfinite(direct)
    winograd = peak.rate(16, (24, 20), "winograd", repeat=2)
    assert winograd is None or (winograd > 0 and math.isfinite(winograd))
