"""Counted arithmetic against figures that were worked out by hand, layer by layer."""

from __future__ import annotations

import pytest

from restore_cli.errors import WeightsError
from restore_cli.nets import flops

BARE = {"no_upsampling": True}
WIDE = {"name": "mlp", "args": {"out_dim": 3, "hidden_list": [256, 256, 256, 256]}}


def liif(encoder, **more):
    return {"encoder_spec": {"name": encoder, "args": BARE}, "imnet_spec": WIDE, **more}


@pytest.mark.parametrize(("name", "config", "expected"), [
    ("edsr-baseline", BARE, 9 * (3 * 64 + 33 * 64 * 64)),
    ("edsr", BARE, 9 * (3 * 256 + 65 * 256 * 256)),
    ("rdn", BARE, 9 * (3 * 64 + 64 * 64 + 16 * 64 * 64 * 36 + 64 * 64)
     + 16 * 9 * 64 * 64 + 16 * 64 * 64),
    ("rcan", BARE, 9 * (3 * 64 + (10 * 41 + 1) * 64 * 64)),
    ("rednet10", {}, (2 * 9 * 64 + 8 * 9 * 64 * 64) / 4),
    ("rednet30", {}, (2 * 9 * 64 + 28 * 9 * 64 * 64) / 4),
    ("led-unet", {}, 184_576),
    ("led-unet", {"repnr": {"branches": 5, "aux": False}}, 184_576),
])
def test_multiply_adds_a_pixel(name, config, expected):
    assert flops.per_pixel(name, config) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("name", "config", "kilo"), [
    ("edsr-baseline", BARE, 1218), ("edsr", BARE, 38_350), ("rdn", BARE, 21_960),
    ("rdn", {**BARE, "RDNconfig": "A"}, 5460), ("rcan", BARE, 15_150),
    ("n2v-unet", {}, 199), ("n2v-unet", {"in_channels": 3, "out_channels": 3}, 201),
    ("rednet10", {}, 74), ("rednet20", {}, 166), ("rednet30", {}, 258),
    ("n2v-field", {"num_channels_init": 16}, 21), ("n2v-field", {}, 83),
    ("n2v-field", {"num_channels_init": 96}, 748), ("n2v-field", {"n2v2": True}, 74),
    ("led-nafnet", {}, 133.885), ("led-restormer", {}, 397.749),
    ("led-restormer", {"folded": True}, 397.749),
])
def test_published_figures(name, config, kilo):
    assert flops.per_pixel(name, config) / 1000 == pytest.approx(kilo, rel=6e-3)


@pytest.mark.parametrize(("scale", "ours"), [(2, 824_064), (4, 796_416)])
def test_liif_decoder(scale, ours):
    assert flops.decoder("liif", liif("edsr-baseline"), scale) == pytest.approx(ours)
    assert flops.plain_decoder("liif", liif("rdn")) == 1_383_424


def test_liif_decoder_without_unfolding_corners_and_cell():
    config = liif("edsr-baseline", feat_unfold=False, local_ensemble=False, cell_decode=False)
    assert flops.plain_decoder("liif", config) == 66 * 256 + 3 * 256**2 + 768
    assert flops.decoder("liif", config, 2) == 3 * 256**2 + 768 + 64 * 256 / 4


@pytest.mark.parametrize(("scale", "kilo"), [(2, 111.8), (4, 28.5), (7.5, 8.7)])
def test_metasr_decoder(scale, kilo):
    config = {"encoder_spec": {"name": "edsr-baseline", "args": BARE}}
    assert flops.decoder("metasr", config, scale) / 1000 == pytest.approx(kilo, rel=5e-3)
    assert flops.plain_decoder("metasr", config) == 444_864


def test_video_network():
    giga, size = 1e9, (180, 320)
    extractor, pair = flops.flow({}, size)
    assert extractor / giga == pytest.approx(0.35, abs=0.005)
    assert pair / giga == pytest.approx(6.25 + 4.34, abs=0.02)
    assert flops.frame({}, size) / giga == pytest.approx(485, abs=1)
    # The published 1001 count the kernel network's 9.0 and each frame's extractor 8 times.
    assert flops.plain_frame({}, size) / giga == pytest.approx(1001 - 9.0, abs=1)
    assert flops.frame({}, (720, 1280)) / giga == pytest.approx(7760, rel=2e-3)


@pytest.mark.parametrize(("name", "config"), [("vsr", {}), ("edsr", {}), ("liif", liif("edsr"))])
def test_others_are_not_counted_a_pixel(name, config):
    with pytest.raises(WeightsError, match="not counted"):
        flops.per_pixel(name, config)
