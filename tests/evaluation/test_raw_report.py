"""Scores of denoised RAW images by both protocols, and what is reported of them."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from restore_cli.errors import InputError, ShapeError
from restore_cli.evaluation import raw_denoising, raw_metrics, raw_report
from restore_cli.evaluation.raw_denoising import PROTOCOLS, Loaded, RawResult, Score

LED, SOURCE = PROTOCOLS["led"], PROTOCOLS["source"]
PLAIN = LED.uncorrected()


@dataclass
class Given:
    """A case whose images are there already."""

    data: str = "set"
    name: str = "pair"
    ratio: float = 100.0
    images: tuple[np.ndarray, np.ndarray] | None = None
    noisy: Path | None = Path("noisy.arw")
    clean: Path | None = Path("clean.arw")
    origin: str = "list"

    def load(self) -> Loaded:
        return Loaded(*self.images, self.ratio, "Maker Model")


def _images(shape=(30, 40), seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.1, 0.6, (4, *shape)).astype(np.float32)
    noisy = np.minimum(truth + rng.normal(0, 0.1, truth.shape), 1).astype(np.float32)
    return noisy, truth


def test_the_protocols_are_the_metrics_of_their_papers():
    noisy, truth = _images()
    clipped = np.clip(noisy, 0, 1)
    corrected, factor = raw_metrics.illuminance_correction(clipped, truth)
    led, plain, source = (one.score(noisy, truth) for one in (LED, PLAIN, SOURCE))
    assert led.psnr == raw_metrics.psnr4(corrected, truth, border=2)
    assert led.ssim == raw_metrics.ssim4(corrected, truth, border=2)
    assert led.factor == factor
    assert (led.plain_psnr, led.plain_ssim) == (plain.psnr, plain.ssim)
    assert plain.psnr == raw_metrics.psnr4(clipped, truth, border=2)
    assert plain.ssim == raw_metrics.ssim4(clipped, truth, border=2)
    assert (plain.factor, plain.plain_psnr, source.plain_psnr) == (None, None, None)
    assert source.psnr == raw_metrics.psnr_u8(clipped, truth)
    assert source.ssim == raw_metrics.ssim_u8(clipped, truth)
    assert len({led.psnr, plain.psnr, source.psnr}) == 3


def test_scores_of_the_reference_implementation(golden):
    case = golden("metrics", "led")
    for i, (image, truth) in enumerate(zip(case["img"], case["gt"], strict=True)):
        source, plain = SOURCE.score(image, truth), PLAIN.score(image, truth)
        assert source.psnr == pytest.approx(case["psnr_u8_crop0_f64"][i], abs=1e-4)
        assert source.ssim == pytest.approx(case["ssim_u8_crop0_f64"][i], abs=1e-6)
        assert plain.psnr == pytest.approx(case["psnr_pt_crop2_f64"][i], abs=1e-4)
        assert plain.ssim == pytest.approx(case["ssim_pt_crop2_f64"][i], abs=1e-6)
    case = golden("illuminance", "led")
    for image, truth, factor in zip(case["pred"], case["source"], case["factor"], strict=True):
        assert LED.score(image, truth).factor == pytest.approx(factor, rel=1e-5)


def test_a_darker_image_loses_without_the_correction_only():
    _, truth = _images()
    led, plain = LED.score(truth * 0.9, truth), PLAIN.score(truth * 0.9, truth)
    assert led.psnr > 79 and led.factor == pytest.approx(1 / 0.9)
    assert plain.psnr < 30 and plain.shift == pytest.approx((-10,) * 4, abs=1e-3)


def test_shifts_tell_brightness_from_colour():
    _, truth = _images()
    tinted = truth * np.array([1.02, 1.0, 0.97, 1.01], np.float32)[:, None, None]
    assert raw_denoising.shift(tinted, truth) == pytest.approx((2, 0, -3, 1), abs=1e-3)
    truth[2] = 0
    assert raw_denoising.shift(tinted, truth)[2] is None
    with pytest.raises(ShapeError):
        raw_denoising.shift(tinted[:, 1:], truth)


def test_a_pair_is_scored_before_and_after():
    noisy, truth = _images()
    noisy[:, :, :10] -= 0.5  # below black
    result = raw_denoising.evaluate(Given(images=(noisy, truth)), lambda x, ratio: x * 0 + truth,
                                    LED)
    assert result.model.psnr == pytest.approx(80) and result.size == (60, 80)
    assert result.baseline.psnr == LED.score(noisy, truth).psnr < 30
    # Noise below black counts in the noisy image's own mean.
    assert result.baseline.shift == raw_denoising.shift(noisy, truth)
    assert result.baseline.shift[0] < LED.score(noisy, truth).shift[0] - 10
    alone = raw_denoising.evaluate(Given(images=(noisy, truth)), None, LED)
    assert alone.model is None and alone.baseline == result.baseline


def test_the_denoiser_gets_the_ratio_and_uncut_values():
    noisy, truth = _images()
    noisy -= 0.3
    told = []

    def denoise(planes, ratio):
        told.append((planes.min(), ratio))
        return planes

    raw_denoising.evaluate(Given(images=(noisy, truth), ratio=250.0), denoise, SOURCE)
    assert told == [(noisy.min(), 250.0)] and noisy.min() < 0
    with pytest.raises(ShapeError, match="denoised"):
        raw_denoising.evaluate(Given(images=(noisy, truth)), lambda x, ratio: x[:, 1:], SOURCE)


def test_small_images_have_no_similarity_or_are_refused():
    small = Given(images=_images((14, 40)))
    assert raw_denoising.evaluate(small, None, LED).baseline.ssim is None
    assert raw_denoising.evaluate(small, None, SOURCE).baseline.ssim is not None
    with pytest.raises(InputError, match="80x8 pixels leave nothing inside the border"):
        raw_denoising.evaluate(Given(images=_images((4, 40))), None, LED)


@pytest.mark.parametrize(("ratio", "expected"), [
    (100.0, 100), (99.2, 100), (303.03, 300), (1.0, 1), (248, 250), (207, 200), (60, 60),
    (63.7, 64), (1234, 1200)])
def test_ratios_are_counted_under_usual_ones(ratio, expected):
    assert raw_report.group(ratio) == expected


def _score(psnr: float, shift=(1.0, 0.0, -2.0, 0.5), ssim: float | None = 0.9) -> Score:
    return Score(psnr, ssim, psnr - 1, 0.8, 1.05, shift)


def _result(data="set", name="a", ratio=100.0, model: Score | None = None, noisy=20.0,
            **more) -> RawResult:
    return RawResult(Given(data, name, ratio), ratio, "Maker Model", (60, 80), model,
                     _score(noisy, **more), 0.5)


@pytest.fixture
def results():
    return [_result(name="a", ratio=250.0, model=_score(30, (4.0, 0.0, 0.0, None))),
            _result(name="b", ratio=100.0, model=_score(31)),
            _result(name="c", ratio=100.4, model=_score(35, (-9.0, 0.0, 0.0, 0.0)), noisy=22.0),
            _result(data="two", name="d", ratio=1.0, model=_score(40))]


def test_means_by_set_and_ratio_then_over_all(results):
    rows = raw_report.means(results)
    assert [(row.data, row.label, row.pairs) for row in rows] == [
        ("set", "x100", 2), ("set", "x250", 1), ("set", "all", 3), ("two", "x1", 1)]
    hundred, _, whole, _ = rows
    assert (hundred.model.psnr, hundred.baseline.psnr, hundred.gain) == (33, 21, 12)
    assert whole.model.psnr == 32 and whole.seconds == 1.5
    assert hundred.model.shift == (-4, 0, -1, 0.25) and hundred.worst == -9
    assert whole.model.shift[3] == 0.25  # of those that have one


def test_tables_name_the_protocol_in_every_caption(results):
    text = raw_report.text(raw_report.means(results), "tiny", LED, ["a note"])
    quality, plain, shifts, remarks = text.split("\n\n")
    assert quality.splitlines()[0] == "raw PSNR in dB and SSIM, protocol led:"
    assert quality.splitlines()[2].split() == ["set", "x100", "2", "21.00", "0.9000", "33.00",
                                               "0.9000", "+12.00", "0.50"]
    assert "protocol led, uncorrected" in plain
    assert plain.splitlines()[2].split()[3:] == ["20.00", "0.8000", "32.00", "0.8000", "+12.00"]
    assert shifts.splitlines()[3].split() == ["set", "x100", "tiny", "-4.00", "+0.00", "-1.00",
                                              "+0.25", "-9.00", "1.0500"]
    assert remarks.startswith("Protocol led:") and remarks.endswith("  - a note")
    text = raw_report.text(raw_report.means(results), "tiny", SOURCE)
    assert text.startswith("8-bit PSNR in dB and SSIM, protocol source:")
    assert "not comparable" in text and "factor" not in text and "As is" not in text
    text = raw_report.text(raw_report.means(results), "tiny", PLAIN)
    assert text.startswith("raw PSNR in dB and SSIM, protocol led, uncorrected:")


def test_every_figure_has_its_protocol_in_its_name(results):
    for protocol, others in ((LED, ["source_"]), (SOURCE, ["led_"]), (PLAIN, ["source_"])):
        record = raw_report.result_record(results[0], protocol)
        json.dumps(record, allow_nan=False)
        assert record[f"{protocol.key}_psnr"] == 30 and record[f"noisy_{protocol.key}_psnr"] == 20
        assert record["shift_percent"] == {"R": 4.0, "G1": 0.0, "B": 0.0, "G2": None}
        assert "psnr" not in record and not any(other in key for key in record for other in others)
        mean = raw_report.mean_record(raw_report.means(results)[0], model="tiny",
                                      protocol=protocol)
        assert mean["protocol"] == protocol.key and mean[f"{protocol.key}_psnr"] == 33
        rows = list(csv.DictReader(io.StringIO(raw_report.csv_text(results, protocol))))
        assert rows[0][f"{protocol.key}_psnr"] == "30.0000" and "psnr" not in rows[0]
        assert not any(other in key for key in rows[0] for other in others)
        assert {None} & {key for row in rows for key in row} == set()
    assert "led_psnr" not in raw_report.result_record(results[0], PLAIN)


def test_csv_has_pairs_then_means(results):
    results.append(_result(name="e", ratio=300.0))  # not denoised
    rows = list(csv.DictReader(io.StringIO(raw_report.csv_text(results, LED))))
    assert [(row["data"], row["ratio"], row["pair"]) for row in rows] == [
        ("set", "250", "a"), ("set", "100", "b"), ("set", "100.4", "c"), ("two", "1", "d"),
        ("set", "300", "e"), ("set", "100", "mean"), ("set", "250", "mean"),
        ("set", "300", "mean"), ("set", "all", "mean"), ("two", "1", "mean")]
    assert rows[2]["shift_R"] == "-9.0000" and rows[0]["shift_G2"] == ""
    assert rows[4]["led_psnr"] == rows[4]["shift_R"] == "" and rows[4]["noisy_led_psnr"] != ""
    assert rows[5]["led_uncorrected_psnr"] == "32.0000" and rows[5]["factor"] == "1.050000"


def test_infinite_scores_are_null_in_json():
    record = raw_report.result_record(_result(model=Score(float("inf"), 1.0, shift=(0.0,) * 4)),
                                      SOURCE)
    assert record["source_psnr"] is None and record["source_ssim"] == 1.0


def test_markdown_has_the_same_tables(results):
    text = raw_report.markdown(raw_report.means(results), "ti|ny", LED, ["a note"])
    lines = text.splitlines()
    assert lines[0] == "raw PSNR in dB and SSIM, protocol led:"
    assert lines[2] == "| data | ratio | pairs | noisy | SSIM | ti\\|ny | SSIM | gain | s/pair |"
    assert lines[3] == "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    assert "| set | x250 | tiny | +4.00 |" in text.replace("ti\\|ny", "tiny")
    assert lines[-1] == "- a note"


def test_published_figures_stand_beside_as_many_pairs_only():
    many = [_result(name=str(i)) for i in range(598)]
    rows = raw_report.means(many)
    assert "38.6894" in raw_report.text(rows, "noisy", SOURCE)
    assert "38.6894" in raw_report.markdown(rows, "noisy", SOURCE)
    assert [record["source_psnr"] for record in raw_report.remark_records(rows, SOURCE)[:-1]] == [
        38.6894, 38.6893]
    for other in (raw_report.text(rows, "noisy", LED),
                  raw_report.text(raw_report.means(many[1:]), "noisy", SOURCE)):
        assert "38.68" not in other


def test_plots_are_drawn_by_ratio(results, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    drawn = {}
    monkeypatch.setattr(raw_report.plots, "draw", lambda bars, points, folder, words: drawn.update(
        bars=bars, points=points, words=words) or [])
    raw_report.plot(results, tmp_path, model="tiny", protocol=SOURCE)
    assert [(bar.data, bar.label, bar.baseline, bar.model) for bar in drawn["bars"]] == [
        ("set", "×100", 21, 33), ("set", "×250", 20, 30), ("set", "all", 62 / 3, 32),
        ("two", "×1", 20, 40)]
    assert [(point.series, point.x, point.gain) for point in drawn["points"]] == [
        ("set, ×100", 1, 11), ("set, ×100", 2, 13), ("set, ×250", 1, 10), ("two, ×1", 1, 20)]
    assert (drawn["words"].quality, drawn["words"].protocol) == ("8-bit PSNR", "source")
