"""Cutting a rendering into stripes, and checking windows. No operator runs here."""

from __future__ import annotations

import numpy as np
import pytest

from restore_cli.errors import ShapeError


def _corners(n, count, ensemble=True):
    from restore_cli.nets.liif import grid

    return grid.corners(n, count, 0, count, ensemble)


@pytest.mark.parametrize("n,count", [(23, 60), (23, 23), (23, 11), (1, 9), (400, 401), (3, 200)])
@pytest.mark.parametrize("reach", [0, 1])
@pytest.mark.parametrize("bytes_", [1, 700, 5000, 1 << 30])
def test_stripes_partition_the_rows_and_hold_what_they_need(engine, monkeypatch, n, count, reach,
                                                            bytes_):
    from restore_cli.nets.ops import native

    monkeypatch.setattr(native, "STRIPE_BYTES", bytes_)
    rows = _corners(n, count)
    row_bytes, seen = 100, 0
    for corners, top, bottom in native.stripes(rows, n, row_bytes, reach):
        taken = len(corners[0].index)
        assert taken > 0
        assert 0 <= top < bottom <= n
        for corner, whole in zip(corners, rows, strict=True):
            assert len(corner.index) == taken
            part = whole.index[seen:seen + taken]
            np.testing.assert_array_equal(corner.index + top, part)
            np.testing.assert_array_equal(corner.weight, whole.weight[seen:seen + taken])
            np.testing.assert_array_equal(corner.offset, whole.offset[seen:seen + taken])
            # A row of the map is right only if its own reach lies inside the stripe.
            assert (part - reach >= top).all() or top == 0
            assert (part + reach < bottom).all() or bottom == n
        # Down-scaled neighbours lie apart; one output row is the least a stripe can hold.
        spread = 2 + 2 * reach
        assert bottom - top <= max(spread, bytes_ // row_bytes)
        seen += taken
    assert seen == count


def test_a_window_needs_only_neighbours_that_count(engine):
    from restore_cli.nets.ops import native

    rows = _corners(9, 27)
    low, high = rows[0], rows[1]
    # Output row 13 lies on input row 4; its other neighbour, row 5, has weight 0.
    assert (low.index[13], low.weight[13], high.weight[13]) == (4, 1, 0)
    one = [type(c)(c.index[13:14], c.offset[13:14], c.weight[13:14]) for c in rows]
    moved = native.local(one, 4, 1, "rows")
    assert [int(c.index[0]) for c in moved] == [0, 0]
    with pytest.raises(ShapeError, match="rows 4 to 4"):
        native.local(one, 5, 3, "rows")
    with pytest.raises(ShapeError, match="rows 4 to 4"):
        native.local(one, 0, 4, "rows")


def test_the_sources_are_part_of_the_package(engine):
    from restore_cli.nets.ops import native

    for name in ("liif_decoder.cc", "metasr_decoder.cc"):
        assert "decode(" in native.source(name)
        assert "@" not in native.source(name)  # Jittor's templates would take it as theirs
