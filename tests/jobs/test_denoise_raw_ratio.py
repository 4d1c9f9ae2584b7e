"""By how much RAW pictures are amplified."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from restore_cli.errors import InputError, UsageError
from restore_cli.jobs.denoise_raw_ratio import Chosen, Rule, Span, brightness, common, show
from restore_cli.media import bayer

BLACK = np.array([512.0, 500, 520, 508])
WHITE = np.array([16383.0, 16000, 16383, 16383])
KNOWN = Span(1, 300)


def camera(level: float | np.ndarray = 0.01, exposure: float | None = 50.0,
           pattern: str = "GRBG", shape: tuple[int, int] = (96, 128)) -> SimpleNamespace:
    """A file whose planes are all at `level` of the way from black to white."""
    kind = bayer.PATTERNS[pattern]
    planes = np.broadcast_to(level, (4, shape[0] // 2, shape[1] // 2))
    stored = planes * (WHITE - BLACK)[:, None, None] + BLACK[:, None, None]
    mosaic = np.zeros(shape, np.uint16)
    bayer.unpack(np.rint(stored).astype(np.uint16), kind, mosaic)
    return SimpleNamespace(mosaic=mosaic, pattern=kind, black=BLACK, white=WHITE,
                           exposure=exposure, path=Path("a.dng"))


def test_a_given_ratio_goes_before_everything():
    found = Rule(ratio=100).of(camera(0.5, None), KNOWN)
    assert (found.ratio, found.rule, found.warnings) == (100, "given", ())


@pytest.mark.parametrize("ratio", [0.5, 0, -3, float("nan"), float("inf"), 1e7])
def test_impossible_ratios(ratio):
    with pytest.raises(UsageError, match="--ratio"):
        Rule(ratio=ratio)


@pytest.mark.parametrize("two", [{"ratio": 5, "target": 9}, {"ratio": 5, "reference": 9},
                                 {"target": 5, "reference": 9}])
def test_two_rules_contradict_each_other(two):
    with pytest.raises(UsageError, match="contradict"):
        Rule(**two)


def test_target_exposure_is_divided_by_the_files_own():
    assert Rule(target=5000).of(camera(exposure=50.0), KNOWN).ratio == 100


@pytest.mark.parametrize("rule", [Rule(target=5000), Rule(reference=5000)])
def test_a_file_without_exposure_is_named(rule):
    with pytest.raises(InputError) as caught:
        rule.of(camera(exposure=None), KNOWN)
    assert str(caught.value).startswith("a.dng: does not say its ISO")
    assert "--ratio" in caught.value.hint


@pytest.mark.parametrize("rule", [Rule(target=20), Rule(reference=20)])
def test_a_file_exposed_longer_than_its_target(rule):
    with pytest.raises(InputError, match="makes no sense"):
        rule.of(camera(exposure=50.0), KNOWN)


def test_a_reference_gives_300_at_most_and_says_so():
    assert Rule(reference=50 * 250).of(camera(), KNOWN).ratio == 250
    found = Rule(reference=50 * 900).of(camera(), KNOWN)
    assert found.ratio == 300 and "900 times" in found.warnings[0]


@pytest.mark.parametrize("pattern", sorted(bayer.PATTERNS))
def test_automatic_brings_the_brightest_percent_to_its_place(pattern):
    found = Rule().of(camera(0.008, pattern=pattern), KNOWN)
    assert found.ratio == pytest.approx(100, rel=0.01)
    assert found.rule == "automatic" and not found.warnings


def test_automatic_looks_at_blocks_and_not_at_single_pixels():
    level = np.full((4, 48, 64), 0.008)
    level[1:4:2, ::16, ::16] = 1.0  # 12 defects, one in every fourth block
    expected = 0.8 / (0.008 + 0.992 / 64)
    assert Rule().of(camera(level), KNOWN).ratio == pytest.approx(expected, rel=0.02)
    level[[0, 2]] = 1.0  # red and blue are not looked at
    assert Rule().of(camera(level), KNOWN).ratio == pytest.approx(expected, rel=0.02)


def test_automatic_takes_the_99th_percentile():
    level = np.full((4, 160, 160), 0.004)
    level[:, :8, :16] = 0.5  # 2 of 400 blocks: less than a hundredth
    assert Rule().of(camera(level, shape=(320, 320)), KNOWN).ratio == pytest.approx(200, rel=0.01)
    level[:, :16, :80] = 0.5  # 20 of 400
    assert Rule().of(camera(level, shape=(320, 320)), KNOWN).ratio == pytest.approx(1.6, rel=0.01)


def test_strips_give_what_the_whole_gives():
    rng = np.random.default_rng(0)
    level = rng.uniform(0, 0.02, (4, 8 * 150, 24))
    tall = camera(level, shape=(16 * 150, 48))
    means = level[[1, 3]].reshape(2, 150, 8, 3, 8).mean((0, 2, 4))
    found = brightness(tall.mosaic, tall.pattern, tall.black, tall.white)
    assert found == pytest.approx(np.percentile(means, 99), abs=1e-5)


@pytest.mark.parametrize("shape", [(2, 2), (6, 3), (15, 200), (17, 33)])
def test_pictures_smaller_than_a_block(shape):
    assert Rule().of(camera(0.008, shape=shape), KNOWN).ratio == pytest.approx(100, rel=0.01)


def test_automatic_never_darkens_and_stays_within_what_the_weights_know():
    assert Rule().of(camera(0.9), KNOWN).ratio == 1
    dark = Rule().of(camera(0.0002), KNOWN)
    assert dark.ratio == 300 and "so dark" in dark.warnings[0]


def test_weights_for_dark_pictures_only_do_not_blow_bright_ones():
    known = Span(100, 300)
    raised = Rule().of(camera(0.0095), known)  # 84 by its own brightness
    assert raised.ratio == pytest.approx(100, rel=0.01) and not raised.warnings
    bright = Rule().of(camera(0.04), known)
    assert bright.ratio == pytest.approx(25, rel=0.01)  # the brightest percent just at white
    assert "too bright for the weights" in bright.warnings[0]


@pytest.mark.parametrize("level", [0.0, -0.01])
def test_no_light_at_all(level):
    with pytest.raises(InputError, match="holds no light") as caught:
        Rule().of(camera(level), KNOWN)
    assert "--ratio" in caught.value.hint
    assert Rule(ratio=50).of(camera(level), KNOWN).ratio == 50


@pytest.mark.parametrize("ratio", [5, 350])
def test_ratios_outside_the_weights_range_are_warned_of(ratio):
    found = Rule(ratio=ratio).of(camera(), Span(10, 300))
    assert found.ratio == ratio and "10 to 300" in found.warnings[0]
    assert not Rule(ratio=10).of(camera(), Span(10, 300)).warnings


def test_one_ratio_for_all_is_that_of_the_brightest():
    one = common([Chosen(90, "automatic"), Chosen(12.5, "automatic", ("said already",)),
                  Chosen(300, "automatic")])
    assert (one.ratio, one.rule, one.warnings) == (12.5, "same for all", ())


def test_numbers_are_shown_short():
    assert [show(n) for n in (1.0, 12.3456, 99999.6)] == ["1", "12.35", "100000"]
    assert str(Chosen(146.449, "automatic")) == "x146.4 (automatic)"
