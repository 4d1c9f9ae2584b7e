"""Noise measured in made pictures with known noise: level, correlation, traces, warnings."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from restore_cli.errors import ShapeError
from restore_cli.evaluation import noise, noise_blocks
from restore_cli.training.datasets.synthetic import dead_leaf

SIDE = 256
PICTURES = (1, 2, 4)


@pytest.fixture(scope="module")
def colours() -> dict[int, np.ndarray]:
    """Generated pictures, float32 (3, H, W), 0 to 255."""
    return {index: dead_leaf(7, index, SIDE).astype(np.float32).transpose(2, 0, 1)
            for index in PICTURES}


@pytest.fixture(scope="module")
def greys(colours) -> dict[int, np.ndarray]:
    """The same in grey, (H, W), squeezed to 40..215 so that noise is not cut off."""
    return {index: 40 + picture.mean(axis=0) * (175 / 255) for index, picture in colours.items()}


def white(shape, sigma: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, sigma, shape).astype(np.float32)


def blurred(field: np.ndarray, sigma: float) -> np.ndarray:
    taps = np.arange(-4, 5)
    kernel = np.exp(-taps**2 / (2 * sigma**2))
    kernel /= kernel.sum()
    for axis in (0, 1):
        field = sum(w * np.roll(field, t, axis) for w, t in zip(kernel, taps))
    return field


def as_jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    stored = io.BytesIO()
    Image.fromarray(eight_bit(picture).astype(np.uint8)).save(stored, "JPEG", quality=quality)
    return np.asarray(Image.open(stored)).astype(np.float32)


def eight_bit(picture: np.ndarray) -> np.ndarray:
    return np.clip(np.round(picture), 0, 255)


def bilinear_demosaic(colour: np.ndarray) -> np.ndarray:
    """A Bayer mosaic (RGGB) of a (3, H, W) picture, interpolated bilinearly."""
    mask = np.zeros(colour.shape, np.float32)
    mask[0, ::2, ::2] = mask[1, ::2, 1::2] = mask[1, 1::2, ::2] = mask[2, 1::2, 1::2] = 1
    weights = ((-1, -1, 1), (-1, 0, 2), (-1, 1, 1), (0, -1, 2), (0, 0, 4), (0, 1, 2), (1, -1, 1),
               (1, 0, 2), (1, 1, 1))

    def around(planes: np.ndarray) -> np.ndarray:
        return sum(w * np.roll(planes, (dy, dx), (1, 2)) for dy, dx, w in weights)

    whole = around(colour * mask) / around(mask)
    return np.where(mask > 0, colour, whole)


# ---------------------------------------------------------------- independent noise

@pytest.mark.parametrize("sigma", [5, 10, 25])
def test_white_noise_is_measured_and_not_warned_of(greys, sigma):
    for index, picture in greys.items():
        report = noise.analyse(picture + white(picture.shape, sigma, index), scale=255)
        assert report.sigma[0] == pytest.approx(sigma, rel=0.12 if sigma == 5 else 0.06)
        assert abs(report.correlation[0, 1]) < 0.1 and abs(report.correlation[1, 0]) < 0.1
        assert noise.warnings(report) == []


def test_units_and_layouts_do_not_matter(greys):
    noisy = greys[1] + white(greys[1].shape, 20)
    wanted = noise.analyse(noisy[None], scale=255)
    as_plane = noise.analyse(noisy)
    tiny = noise.analyse(noisy.astype(np.float64) / 1e4 - 3)
    assert as_plane.sigma == pytest.approx(wanted.sigma)
    assert tiny.sigma[0] == pytest.approx(wanted.sigma[0] / 1e4, rel=0.01)
    assert noise.warnings(wanted) == noise.warnings(tiny) == []
    assert noise.estimate_sigma(noisy) == pytest.approx(wanted.sigma[0])


def test_photon_noise_gives_gain_and_offset():
    ramp = np.tile(np.linspace(20, 220, 384, dtype=np.float32), (256, 1))
    rng = np.random.default_rng(3)
    gain, read = 2.0, 6.0
    noisy = gain * rng.poisson(ramp / gain) + rng.normal(0, read, ramp.shape)
    report = noise.analyse(noisy, scale=255)
    assert report.gain[0] == pytest.approx(gain, rel=0.15)
    assert report.offset[0] == pytest.approx(read**2, abs=25)
    assert report.sigma[0] == pytest.approx(np.sqrt(gain * 120 + read**2), rel=0.05)
    assert noise.warnings(report) == []


# ---------------------------------------------------------------- dependent noise

def test_blurred_noise_is_warned_of_with_its_correlation(greys):
    for index, picture in greys.items():
        field = blurred(white(picture.shape, 1, index), 0.7)
        report = noise.analyse(picture + 20 * field / field.std(), scale=255)
        assert report.correlated and report.directional is None
        # exp(-1 / (4 * 0.7**2)) = 0.60
        assert report.correlation[0, 1] == pytest.approx(0.60, abs=0.06)
        assert report.correlation[1, 0] == pytest.approx(0.60, abs=0.06)
        line, = noise.warnings(report)
        assert "correlates between neighbouring pixels" in line and "denoise-raw" in line


@pytest.mark.parametrize("direction", ["horizontal", "vertical"])
def test_lines_are_told_from_other_noise(greys, direction):
    picture = greys[2]
    lines = white((SIDE, 1), 10, 1)
    noisy = picture + white(picture.shape, 15, 2) + (lines if direction == "horizontal"
                                                     else lines.T)
    report = noise.analyse(noisy, scale=255)
    assert report.directional == direction
    along, across = report.banding if direction == "horizontal" else report.banding[::-1]
    assert along == pytest.approx(100 / 325, abs=0.12) and across < 0.05
    assert f"--struct {direction}" in noise.warnings(report)[0]
    assert noise.warnings(report, struct=direction) == []


def test_enlarged_pictures_are_recognised(greys):
    noisy = greys[1] + white(greys[1].shape, 15)
    for size, factor in ((384, 1.5), (320, 1.25)):
        larger = np.asarray(Image.fromarray(noisy).resize((size, size), Image.BICUBIC))
        report = noise.analyse(eight_bit(larger), scale=255)
        assert report.enlarged == pytest.approx(factor, abs=0.03)
        assert "before resizing" in noise.warnings(report)[0]
    assert noise.analyse(noisy, scale=255).enlarged is None


def test_demosaiced_colours_are_sent_to_the_raw(colours):
    mosaic = 40 + colours[1] * (175 / 255)
    mosaic += white(mosaic.shape, 12, 5)
    report = noise.analyse(eight_bit(bilinear_demosaic(mosaic)), scale=255)
    assert report.mosaic and report.correlated
    assert "denoise-raw" in noise.warnings(report)[0]
    assert not noise.analyse(eight_bit(mosaic), scale=255).mosaic


# ---------------------------------------------------------------- JPEG

@pytest.mark.parametrize("quality", [75, 90])
def test_jpeg_blocks_are_found_in_any_file(greys, quality):
    noisy = as_jpeg(greys[4] + white(greys[4].shape, 10), quality)
    report = noise.analyse(noisy, scale=255)
    assert report.jpeg_grid == (0, 0)
    assert noise.analyse(noisy[3:, 5:], scale=255).jpeg_grid == (5, 3)
    assert noise.analyse(noisy / 255, scale=1).jpeg_grid == (0, 0)
    assert any("JPEG" in line for line in noise.warnings(report))


def test_noise_added_after_jpeg_is_no_jpeg_noise(greys):
    smooth = as_jpeg(greys[4], 90)
    assert noise.analyse(smooth, scale=255).jpeg_grid == (0, 0)
    noisy = eight_bit(smooth + white(smooth.shape, 10))
    assert noise.analyse(noisy, scale=255).jpeg_grid is None


def test_a_jpeg_file_is_always_warned_of(greys):
    report = noise.analyse(greys[1] + white(greys[1].shape, 25), scale=255)
    line, = noise.warnings(report, jpeg=True)
    assert line.startswith("JPEG input") and "denoise-raw" in line


# ---------------------------------------------------------------- channels

def test_grey_saved_as_colour(greys):
    noisy = eight_bit(greys[1] + white(greys[1].shape, 15))
    report = noise.analyse(np.stack([noisy] * 3), scale=255)
    assert report.same_channels and report.cross_channel == 1.0
    assert "convert to grey" in noise.warnings(report)[0]
    assert noise.warnings(report, shared=True) == []
    palette = noise.analyse(np.stack([noisy, noisy, 0 * noisy]), scale=255)
    assert palette.same_channels and palette.sigma[0] == palette.sigma[1] and palette.sigma[2] == 0


def test_noise_common_to_channels(colours):
    picture = 40 + colours[2] * (175 / 255)
    apart = noise.analyse(picture + white(picture.shape, 15), scale=255)
    assert abs(apart.cross_channel) < 0.15 and noise.warnings(apart) == []
    both = white(picture.shape, 9, 1) + white(picture.shape[1:], 12, 2)
    report = noise.analyse(picture + both, scale=255)
    assert report.cross_channel == pytest.approx(144 / 225, abs=0.1)
    line, = noise.warnings(report)
    assert "mask the same pixel in all channels" in line


# ---------------------------------------------------------------- little or odd data

def test_clean_and_constant_pictures(greys):
    smooth = blurred(greys[1], 1.5)
    report = noise.analyse(smooth, scale=255)
    assert report.clean
    assert noise.warnings(report)[0].startswith("already clean")
    assert not noise.analyse(smooth + white(smooth.shape, 3), scale=255).clean
    flat = noise.analyse(np.full((3, 40, 50), 7.0), scale=255)
    assert flat.constant and flat.sigma == (0, 0, 0)
    assert "same value" in noise.warnings(flat)[0]


def test_weak_noise_counts_when_the_picture_is_as_weak(greys):
    picture = 1000 + greys[1]  # 16-bit microscopy: 175 of 65535 levels
    report = noise.analyse(np.round(picture + white(picture.shape, 8)), scale=65535)
    assert not report.clean and report.sigma[0] == pytest.approx(8, rel=0.1)


def test_cut_off_values():
    ramp = np.tile(np.linspace(-60, 200, SIDE), (SIDE, 1))
    noisy = ramp + white(ramp.shape, 15)
    report = noise.analyse(eight_bit(noisy), scale=255)
    assert report.saturated_low == pytest.approx(np.mean(noisy < 0.5), abs=0.01)
    assert report.saturated_high == 0
    assert report.sigma[0] == pytest.approx(15, rel=0.06)
    assert any("cut off at black" in line for line in noise.warnings(report))
    assert noise.analyse(noisy).saturated_low == 0


def test_steps(greys):
    noisy = greys[1] + white(greys[1].shape, 15)
    assert noise.analyse(noisy).step == 0
    assert noise.analyse(eight_bit(noisy)).step == 1
    assert noise.analyse(np.round(noisy / 4) * 4).step == 4
    assert noise.analyse(eight_bit(noisy) / 255).step == pytest.approx(1 / 255, rel=1e-3)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 20), (3, 9, 7), (1, 31, 200), (1, 32, 32)])
def test_small_pictures_say_nothing_wrong(shape):
    noisy = 100 + white(shape, 10)
    report = noise.analyse(noisy, scale=255)
    assert report.judged == (min(shape[1:]) >= 32 or report.constant)
    assert not report.correlated
    if min(shape[1:]) >= 7:
        assert max(report.sigma) == pytest.approx(10, rel=0.5)


def test_missing_values_do_not_spoil_the_rest(greys):
    noisy = greys[1] + white(greys[1].shape, 15)
    noisy[3:9, 4:20] = np.nan
    noisy[50, 60] = np.inf
    assert noise.estimate_sigma(noisy) == pytest.approx(15, rel=0.06)
    assert noise.analyse(np.full((1, 40, 40), np.nan)).constant


def test_shapes_are_checked(greys):
    with pytest.raises(ShapeError):
        noise.analyse(np.zeros((1, 2, 3, 4)))
    with pytest.raises(ShapeError):
        noise.analyse(np.zeros((0, 3, 4)))
    with pytest.raises(ShapeError, match="restored"):
        noise.analyse(greys[1], greys[1][1:])


# ---------------------------------------------------------------- after a restoration

def test_what_was_removed_and_what_is_left(greys):
    picture = greys[1]
    noisy = picture + white(picture.shape, 15)
    good = noise.analyse(noisy, picture, scale=255)
    assert good.residual.kept < 0.3
    assert good.residual.sigma[0] == pytest.approx(15, rel=0.02)
    assert abs(good.residual.correlation[0, 1]) < 0.03
    assert noise.warnings(good) == []
    lazy = noise.analyse(noisy, 0.2 * picture + 0.8 * noisy, scale=255)
    assert lazy.residual.kept == pytest.approx(0.8, abs=0.05)
    assert any("still in the result" in line for line in noise.warnings(lazy))


def test_the_difference_shows_lines_that_texture_hid():
    rng = np.random.default_rng(4)
    texture = rng.normal(0, 30, (SIDE, SIDE)).astype(np.float32)  # white: hides everything
    along = white((SIDE, SIDE + 1), 8, 5)
    lines = along[:, 1:] + 0.5 * along[:, :-1]
    report = noise.analyse(128 + texture + lines, 128 + texture, scale=255)
    assert not report.correlated
    assert report.residual.correlation[0, 1] == pytest.approx(0.4, abs=0.05)
    assert any("--struct horizontal" in line for line in noise.warnings(report))


def test_masked_loss_below_the_noise():
    assert noise.blind_floor(0.97, 1.0) is None
    assert noise.blind_floor(1.4, 1.0) is None  # structure on top of the noise
    assert "0.37 of the noise variance" in noise.blind_floor(37.0, [100.0, 100.0])
    mean_absolute = np.sqrt(2 / np.pi) * 5.0
    assert noise.blind_floor(mean_absolute, 25.0, loss="mae") is None
    assert noise.blind_floor(0.8 * mean_absolute, 25.0, loss="mae") is not None
    assert noise.blind_floor(0.0, 0.0) is None


# ---------------------------------------------------------------- real pictures

def test_real_micrographs_are_independent(shared_data):
    paths = sorted((shared_data / "micro" / "w2s").glob("noisy_*.tif"))
    assert len(paths) == 10
    for path in paths[::2]:  # the others too, but tests are to be quick
        report = noise.analyse(np.asarray(Image.open(path)), scale=255)
        assert noise.warnings(report) == [], path.name


def test_real_camera_jpegs_are_warned_of(shared_data):
    paths = sorted((shared_data / "images" / "real_noise_polyu").glob("*_real.jpg"))
    assert len(paths) == 10
    for path in paths[::3]:
        pixels = np.asarray(Image.open(path)).transpose(2, 0, 1)
        report = noise.analyse(pixels, scale=255)
        assert report.jpeg_grid == (0, 0), path.name
        assert any("JPEG" in line for line in noise.warnings(report)), path.name


def test_lone_outliers_are_counted():
    from restore_cli.evaluation import noise_traces

    rng = np.random.default_rng(3)
    plane = rng.normal(100, 10, (200, 200)).astype(np.float32)
    assert noise_traces.spikes(plane, 10) == 0
    plane[10:190:10, 10:190:10] = 255
    plane[15:190:10, 15:190:10] = 0
    assert noise_traces.spikes(plane, 10) == pytest.approx(2 * 18**2 / 198**2, rel=0.02)


def test_a_picture_is_measured_once_for_both_reports(colours):
    picture = eight_bit(colours[1] + white((3, SIDE, SIDE), 12))
    restored = np.clip(picture * 0.9 + 10, 0, 255)
    found = noise.examine(picture, scale=255)
    whole = noise.analyse(picture, restored, scale=255)
    assert found.report == noise.analyse(picture, scale=255) and found.report.residual is None
    assert found.against(picture, restored) == whole and whole.residual is not None
    with pytest.raises(ShapeError):
        found.against(picture, restored[:, 1:])


def test_threads_change_no_number(colours):
    picture = eight_bit(colours[1] + white((3, SIDE, SIDE), 12))
    alone, shared = (noise.examine(picture, scale=255, threads=threads) for threads in (1, 2))
    assert alone.report == shared.report
    assert alone.against(picture, picture / 2) == shared.against(picture, picture / 2, threads=2)


@pytest.mark.parametrize("shape", [(), (3, 40, 50), (2, 9, 9)])
def test_what_cannot_be_measured_has_no_residual(shape):
    picture = np.random.default_rng(0).normal(9, 1, (3, 20, 20)) if not shape else np.ones(shape)
    found = noise.examine(picture)
    assert found.against(picture, picture / 2) == found.report


@pytest.mark.parametrize("count", [1, 2, 7, 64, 129])
def test_medians_and_transforms_are_what_they_are_called(count):
    values = np.random.default_rng(count).normal(0, 1, (count, 64)).astype(np.float32)
    assert np.array_equal(noise_blocks.medians(values), np.median(values, axis=0))
    one_by_one = [noise_blocks.DCT @ block.reshape(8, 8) @ noise_blocks.DCT.T for block in values]
    assert np.allclose(noise_blocks.transform(values), np.reshape(one_by_one, (-1, 64)), atol=1e-5)


@pytest.mark.parametrize("sorting", [False, True])
@pytest.mark.parametrize("count", [1, 2, 7, 1000])
def test_medians_are_numpys_by_either_way(monkeypatch, sorting, count):
    monkeypatch.setattr(noise_blocks, "_sorting_is_faster", lambda: sorting)
    values = white((count, 5), 3.0) ** 2
    np.testing.assert_array_equal(noise_blocks.medians(values), np.median(values, axis=0))


@pytest.mark.parametrize("join", [np.minimum, np.maximum, np.add])
def test_windows_are_joined(join):
    plane = np.random.default_rng(0).integers(0, 9, (29, 40))
    windows = np.lib.stride_tricks.sliding_window_view(plane, (8, 8))[::3]
    np.testing.assert_array_equal(noise_blocks.joined(plane, 3, join),
                                  join.reduce(windows, axis=(2, 3)))


def test_blocks_with_pixels_at_a_limit_are_left_out():
    plane = white((64, 64), 1.0) + 100
    plane[:8, :8] = 255  # 64 of the first block's pixels, and some of its neighbours'
    plane[40, 40] = 0
    used = noise_blocks.usable(plane, 0.0, 255.0).reshape(15, 15)  # every 4 pixels
    assert not used[:2, :2].any() and used[2:].all() and used[:, 2:].all()


def test_quantiles_and_steps_of_sorted_values():
    values = np.sort(np.rint(white(5000, 20.0)) * np.float32(0.5))
    for share in (0.0, 0.001, 0.3333, 0.999, 1.0):
        assert noise._quantile(values, share) == np.quantile(values, share)
    assert noise.noise_traces.step(values) == 0.5
    assert noise.noise_traces.step(np.zeros(9, np.float32)) == 0


def test_lone_outliers_at_borders_are_counted():
    plane = np.full((150, 70), 10.0, np.float32)
    plane[[3, 64, 65, 148], [5, 20, 60, 68]] = 99  # at the borders of what is looked at together
    plane[100, 30] = -50
    plane[[20, 20], [30, 31]] = 99  # two are not alone
    plane[0, 0] = 99  # has no eight neighbours
    assert noise.noise_traces.spikes(plane, 1.0) == 5 / (148 * 68)
