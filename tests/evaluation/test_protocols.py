"""Protocols against upstream's numbers and the published tables."""

from __future__ import annotations

import re
import zlib

import numpy as np
import pytest
from PIL import Image

from restore_cli.errors import InputError, ShapeError
from restore_cli.evaluation import cases, protocols
from restore_cli.evaluation.cases import Case
from restore_cli.evaluation.protocols import PROTOCOLS

UPSTREAM = {"None": "rgb", "div2k": "div2k", "benchmark": "benchmark"}


def _protocol(upstream_name: str):
    name, _, scale = upstream_name.partition("-")
    return PROTOCOLS[UPSTREAM[name]], int(scale or 1)


def test_psnr_of_every_protocol_is_upstreams(golden):
    case = golden("14_psnr")
    sr, gt = (case[name][0].transpose(1, 2, 0) for name in ("sr", "gt"))
    for name, expected in case["meta"]["psnr"].items():
        protocol, scale = _protocol(name)
        assert protocol.score(sr, gt, scale).psnr == pytest.approx(expected, abs=1e-4), name


def _recipe(shapes, meta):
    """The weights that the golden cases were computed with; see tests/data."""
    weights = {}
    for key, shape in shapes.items():
        value = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape)
        value = value.astype(np.float32)
        value *= np.float32(1 / np.sqrt(np.prod(shape[1:])) if value.ndim > 1 else 0.02)
        for pattern, factor in meta["rules"]:
            if re.search(pattern, key):
                value *= np.float32(factor)
                break
        weights[key] = value * np.float32(meta["last_layer_gain"].get(key, 1))
    return weights


@pytest.fixture
def network(engine):
    """Builds the network of an eval golden as an `Upscale` function."""

    def make(meta):
        import jittor as jt

        from restore_cli.nets import registry
        model = registry.build(meta["model"]["name"], meta["model"]["args"])
        shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
        model.load_state_dict(_recipe(shapes, meta))

        def upscale(low, size):
            x = jt.array((low.transpose(2, 0, 1)[None] - 0.5) / 0.5)
            with jt.no_grad():
                y = model.render(model.encode(x), size).numpy()
            return y[0].transpose(1, 2, 0) * 0.5 + 0.5

        return upscale

    return make


@pytest.mark.parametrize("name", ["18_eval_down6", "18_eval_paired3"])
def test_whole_evaluation_is_upstreams(golden, network, tmp_path, name):
    golden_case = golden(name)
    meta = golden_case["meta"]
    upscale = network(meta)
    for protocol_name, expected in meta["per_image"].items():
        protocol, _ = _protocol(protocol_name)
        for i, value in enumerate(expected):
            paths = []
            for kind in ("hr", "lr") if meta["paired"] else ("hr",):
                paths.append(tmp_path / f"{kind}{i}.png")
                Image.fromarray(golden_case[f"{kind}_u8_{i}"]).save(paths[-1])
            case = Case("golden", str(i), float(meta["scale"]), *paths)
            result = protocols.evaluate(case, upscale, protocol)
            assert result.model.psnr == pytest.approx(value, abs=1e-3), protocol_name


@pytest.mark.parametrize(("scale", "psnr"), [(2, 33.65), (3, 30.39), (4, 28.42)])
def test_set5_bicubic_is_as_published(shared_data, scale, psnr):
    found = cases.find(shared_data / "images" / "set5", [scale])
    results = [protocols.evaluate(case, None, PROTOCOLS["classic"]) for case in found]
    assert len(results) == 5
    assert np.mean([result.baseline.psnr for result in results]) == pytest.approx(psnr, abs=0.005)


def test_predictions_are_clamped_and_rounded_only_on_request(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 36, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    case = Case("set", "a", 2.0, tmp_path / "a.png")
    kept = {}

    def offset(low, size):
        # 0.4 levels off, and far outside the range where the truth is at its ends.
        return (pixels + 0.4 + 50.0 * (pixels == 255) - 50.0 * (pixels == 0)) / 255

    def run(quantise):
        return protocols.evaluate(case, offset, PROTOCOLS["rgb"], quantise=quantise,
                                  keep=lambda case, image: kept.update({quantise: image}))

    exact, rounded = run(False), run(True)
    assert exact.model.psnr == pytest.approx(20 * np.log10(255 / 0.4), abs=0.1)
    assert rounded.model.psnr == float("inf") and rounded.model.ssim == pytest.approx(1)
    assert 0 <= kept[False].min() and kept[False].max() <= 1
    np.testing.assert_array_equal(np.round(kept[True] * 255), pixels)
    assert exact.size == (24, 36)


def test_borders():
    assert PROTOCOLS["benchmark"].border(3) == 3
    assert PROTOCOLS["benchmark"].border(2.5) == 3
    assert PROTOCOLS["div2k"].border(12) == 18
    assert PROTOCOLS["rgb"].border(12) == 0


def test_small_images_have_no_ssim():
    image = np.zeros((14, 40, 3))
    assert PROTOCOLS["benchmark"].score(image, image, 2).ssim is None
    assert PROTOCOLS["rgb"].score(image, image, 2).ssim == pytest.approx(1)
    assert PROTOCOLS["div2k"].score(np.zeros((40, 26, 3)), np.zeros((40, 26, 3)), 2).ssim is None


def test_images_that_the_border_eats_are_refused(tmp_path):
    Image.fromarray(np.zeros((16, 40, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="nothing inside the border of 8"):
        protocols.evaluate(Case("set", "a", 2.0, tmp_path / "a.png"), None, PROTOCOLS["div2k"])


def test_a_prediction_of_the_wrong_shape_is_refused(tmp_path):
    Image.fromarray(np.zeros((16, 40, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(ShapeError, match=r"\(16, 40, 3\)"):
        protocols.evaluate(Case("set", "a", 2.0, tmp_path / "a.png"),
                           lambda low, size: np.zeros((40, 16, 3)), PROTOCOLS["rgb"])
