"""The U-Net that is told the amplification."""

from __future__ import annotations

import led_recipe as recipe
import numpy as np
import pytest
from led_torch import Reference

from restore_cli.errors import ShapeError, WeightsError
from restore_cli.nets.layout import layout
from restore_cli.pipeline.tiles import tiles


@pytest.fixture(scope="module")
def module(engine):
    return recipe.network("led-cunet", {})


@pytest.fixture
def case(golden):
    return golden("cunet", "led")


def test_keys(engine, module):
    upstream = recipe.keys("cunet")
    assert list(layout("led-cunet", {}).shapes.items()) == upstream
    assert [(key, tuple(value.shape)) for key, value in module.state_dict().items()] == upstream


def test_output(module, case):
    out = recipe.run(module, case["x"], case["ratio_map"])
    assert recipe.error(out, case["out"]) < recipe.TOLERANCE


def test_inside(engine, case):
    import jittor as jt

    module, seen = recipe.network("led-cunet", {}), {}
    with jt.no_grad():
        grid = jt.nn.interpolate(jt.array(case["ratio_map"]), size=(128, 128), mode="bilinear")
        bins = module.encoded(grid.reshape(-1, 1)).reshape(128, 128, 300).numpy()
        control = module.control(jt.array(case["ratio_map"]), 8, 12).numpy()
        for key in ("conv3_1", "conv3_2"):
            recipe.watch(module, key, seen)
        module(jt.array(case["x"]), jt.array(case["ratio_map"]))
    assert recipe.error(bins.transpose(2, 0, 1)[None, ::30, ::16, ::16],
                        case["mid_ratio_encoding"]) < recipe.TOLERANCE
    told = control.reshape(1, 128, -1).transpose(0, 2, 1)[:, :8, :16]
    assert recipe.error(told, case["mid_conv0_2"]) < recipe.TOLERANCE
    assert set(seen) == {"conv3_1", "conv3_2"}
    for key, value in seen.items():
        assert recipe.error(value[:, :4, :8, :8], case[f"mid_{key}"]) < recipe.TOLERANCE


def test_one_number_is_a_map_of_it(module, case):
    for ratio in (1.0, 37.5, 300.0):
        even = np.full_like(case["ratio_map"], ratio)
        assert recipe.error(recipe.run(module, case["x"], ratio),
                            recipe.run(module, case["x"], even)) < 1e-5


def test_the_ratio_matters(module, case):
    dark, bright = (recipe.run(module, case["x"], ratio) for ratio in (10.0, 200.0))
    assert recipe.error(dark, bright) > 0.01


def test_tiles_reproduce_the_whole(module):
    """With one ratio for the image; the halo is longer than the plain network's."""
    halo = layout("led-cunet", {}).receptive_radius
    assert halo == 128
    x = np.random.default_rng(7).random((1, 4, 16, 320), dtype=np.float32)
    whole, out, short = recipe.run(module, x, 50.0), np.zeros_like(x), np.zeros_like(x)
    for made, reach in ((out, halo), (short, halo - 16)):
        for part in tiles(*x.shape[2:], 16, reach, 16):
            window = recipe.run(module, np.ascontiguousarray(x[:, :, part.read[0], part.read[1]]),
                                50.0)
            made[:, :, part.keep[0], part.keep[1]] = window[:, :, part.inner[0], part.inner[1]]
    assert recipe.error(out, whole) < 2e-6
    assert recipe.error(short, whole) > 1e-5


@pytest.mark.parametrize("shape", [(2, 4, 20, 33), (1, 4, 16, 16), (1, 4, 41, 24)])
def test_gradients_as_in_pytorch(engine, shape):
    pytest.importorskip("torch")
    import jittor as jt
    import torch

    tensors = recipe.weights("led-cunet", {})
    module = recipe.trained("led-cunet", {}, tensors)
    x, target = recipe.noise(1, *shape), recipe.noise(2, *shape)
    ratio = np.random.default_rng(3).uniform(1, 200, (shape[0], 1, *shape[2:])).astype(np.float32)
    reference = Reference(tensors)
    out = reference(torch.tensor(x), torch.tensor(ratio))
    (out * torch.tensor(target)).sum().backward()
    got = module(jt.array(x), jt.array(ratio))
    assert recipe.error(got, out.detach().numpy()) < 1e-5
    own = module.state_dict()
    for (key, wanted), grad in zip(reference.tensors.items(), jt.grad(
            (got * jt.array(target)).sum(), [own[key] for key in reference.tensors]), strict=True):
        assert recipe.error(grad, wanted.grad.numpy()) < 2e-3, key


def test_wrong_input_is_refused(module):
    import jittor as jt

    with pytest.raises(ShapeError, match="ratio has shape"):
        module(jt.zeros((1, 4, 16, 16)), jt.ones((1, 1, 8, 8)))
    with pytest.raises(ShapeError, match="x has shape"):
        module(jt.zeros((1, 3, 16, 16)), 2.0)
    with pytest.raises(WeightsError, match="channels = 16, expected 32"):
        layout("led-cunet", {"channels": 16})
