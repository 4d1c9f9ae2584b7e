"""Mosaics and planes."""

import numpy as np
import pytest

from restore_cli.errors import ShapeError
from restore_cli.media import bayer
from restore_cli.media.bayer import PATTERNS


@pytest.mark.parametrize("name", sorted(PATTERNS))
@pytest.mark.parametrize("kind", ["even", "odd"])
def test_planes_of_the_reference(golden, name, kind):
    case = golden("pack_bayer", "led")
    mosaic = case[f"raw_{name.lower()}_{kind}"]
    planes = bayer.pack(mosaic, PATTERNS[name])
    assert planes.dtype == mosaic.dtype
    np.testing.assert_array_equal(planes, case[f"packed_{name.lower()}_{kind}"])
    even = np.zeros_like(case[f"depacked_{name.lower()}_{kind}"])
    floats = case[f"float_{name.lower()}_{kind}"].astype(np.uint16)  # the reference truncates
    np.testing.assert_array_equal(bayer.unpack(floats, PATTERNS[name], even),
                                  case[f"depacked_{name.lower()}_{kind}"])


@pytest.mark.parametrize("name", sorted(PATTERNS))
@pytest.mark.parametrize("size", [(8, 10), (9, 10), (8, 11), (9, 11), (2, 2), (3, 3)])
def test_unpacking_undoes_packing_and_leaves_odd_edges(name, size):
    mosaic = np.random.default_rng(1).integers(0, 65535, size, np.uint16)
    copy = np.full_like(mosaic, 7)
    bayer.unpack(bayer.pack(mosaic, PATTERNS[name]), PATTERNS[name], copy)
    height, width = size[0] // 2 * 2, size[1] // 2 * 2
    np.testing.assert_array_equal(copy[:height, :width], mosaic[:height, :width])
    assert (copy[height:] == 7).all() and (copy[:, width:] == 7).all()


@pytest.mark.parametrize("name", sorted(PATTERNS))
def test_the_first_green_is_on_reds_rows(name):
    red, green1, blue, green2 = PATTERNS[name].offsets
    assert green1[0] == red[0] and green2[0] == blue[0] and red != blue
    assert [name[2 * row + column] for row, column in PATTERNS[name].offsets] == list("RGBG")


def test_wrong_shapes_are_refused():
    with pytest.raises(ShapeError, match=r"mosaic has shape \(1, 4\)"):
        bayer.pack(np.zeros((1, 4)), PATTERNS["RGGB"])
    with pytest.raises(ShapeError, match=r"expected \(4, 2, 3\)"):
        bayer.unpack(np.zeros((4, 3, 2)), PATTERNS["RGGB"], np.zeros((5, 6)))
