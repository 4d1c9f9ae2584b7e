"""The U-Net for RAW planes: golden cases, padding of any size, exact tiles."""

from __future__ import annotations

import led_recipe as recipe
import numpy as np
import pytest

from restore_cli.nets.layout import layout
from restore_cli.nets.led import pad
from restore_cli.pipeline.tiles import tiles

CASES = [("unet_full", {}), ("unet_odd", {"channels": 8}),
         ("repnr_unet_pretrain", {"channels": 8, "repnr": recipe.PRETRAIN}),
         ("repnr_unet_finetune", {"channels": 8, "repnr": recipe.FINETUNE}),
         ("train_pretrain_grads", {"channels": 4, "repnr": recipe.PRETRAIN}),
         ("full_led_unet_finetune", {"repnr": recipe.FINETUNE})]


@pytest.fixture
def led(golden):
    return lambda name: golden(name, "led")


@pytest.mark.parametrize("name,config", CASES)
def test_layout_is_upstreams_list_of_keys(name, config):
    assert list(layout("led-unet", config).shapes.items()) == recipe.keys(name)


@pytest.mark.parametrize("name,config", CASES)
def test_built_network_has_the_layouts_keys(engine, name, config):
    from restore_cli.nets import registry

    module = registry.build("led-unet", config)
    module.train()
    built = module.state_dict()
    assert [(key, tuple(value.shape)) for key, value in built.items()] == recipe.keys(name)
    assert not any(value.is_stop_grad() for value in built.values())


def test_sizes():
    plain = layout("led-unet", {})
    assert (plain.parameters, len(plain.shapes)) == (7_760_484, 46)
    assert (plain.receptive_radius, plain.align, plain.scale) == (96, 16, 1)
    assert len(layout("led-unet", {"repnr": recipe.PRETRAIN}).shapes) == 262
    assert len(layout("led-unet", {"repnr": recipe.FINETUNE}).shapes) == 298


@pytest.mark.parametrize("name,config", CASES[:2])
def test_output(engine, led, name, config):
    case = led(name)
    assert recipe.error(recipe.run(recipe.network("led-unet", config), case["x"]),
                        case["out"]) < recipe.TOLERANCE


@pytest.mark.parametrize("name,config", CASES[:2])
def test_inside(engine, led, name, config, monkeypatch):
    """Raw outputs of layers, as the plain modules give them."""
    monkeypatch.setenv("RESTORE_FUSED", "0")
    case = led(name)
    module = recipe.network("led-unet", config)
    seen = {}
    for key in ("conv1_2", "conv5_2", "upv6", "conv9_2"):
        recipe.watch(module, key, seen)
    recipe.run(module, case["x"])
    assert set(seen) == {"conv1_2", "conv5_2", "upv6", "conv9_2"}
    for key, value in seen.items():
        assert recipe.error(value[:, :4, :8, :8], case[f"mid_{key}"]) < recipe.TOLERANCE


@pytest.mark.parametrize("side", range(1, 40))
def test_padding_is_a_mirror(side):
    """As `numpy.pad` mirrors, which goes to and fro where the image is small."""
    x = np.arange(2 * side * 3.0).reshape(2, side, 3)
    padded, (rows, columns) = pad.pad(x, 16)
    before, after = pad.margins(side, 16)
    assert (before + side + after) % 16 == 0 and 0 <= after - before <= 1
    expected = np.pad(x, ((0, 0), (before, after), (6, 7)), "reflect")
    np.testing.assert_array_equal(padded, expected)
    np.testing.assert_array_equal(padded[:, rows, columns], x)
    assert (padded is x) is False


def test_nothing_to_pad():
    x = np.zeros((4, 32, 16))
    padded, crop = pad.pad(x, 16)
    assert padded is x and crop == (slice(0, 32), slice(0, 16))


@pytest.mark.parametrize("shape", [(1, 4, 1, 1), (2, 4, 2, 5), (1, 4, 6, 6), (1, 4, 15, 16),
                                   (1, 4, 16, 15), (1, 4, 9, 40)])
def test_any_size_is_the_padded_image_cropped(engine, shape):
    """What tiling relies on: padding first and cropping last is what the network does itself."""
    module = recipe.network("led-unet", {"channels": 5})
    x = recipe.noise(1, *shape)
    padded, (rows, columns) = pad.pad(x, 16)
    out = recipe.run(module, x)
    assert out.shape == shape
    assert recipe.error(out, recipe.run(module, padded)[:, :, rows, columns]) < 1e-6


def test_gradients_go_through_the_padding(engine):
    """The gradient with respect to an image is that of the padded one, gathered."""
    import jittor as jt

    module = recipe.network("led-unet", {"channels": 4})
    x, target = recipe.noise(2, 1, 4, 11, 16), recipe.noise(3, 1, 4, 11, 16)
    padded, (rows, columns) = pad.pad(x, 16)
    small, large = jt.array(x), jt.array(padded)
    target = jt.array(target)
    got = jt.grad((module(small) * target).sum(), small).numpy()
    wide = jt.grad((module(large)[:, :, rows, columns] * target).sum(), large).numpy()
    expected = np.zeros_like(x)
    np.add.at(expected, (slice(None), slice(None), pad.mirrored(11, 16)), wide)
    assert recipe.error(got, expected) < 1e-5


def _tiled(module, x, tile, halo):
    out = np.zeros_like(x)
    for part in tiles(*x.shape[2:], tile, halo, 16):
        made = recipe.run(module, np.ascontiguousarray(x[:, :, part.read[0], part.read[1]]))
        out[:, :, part.keep[0], part.keep[1]] = made[:, :, part.inner[0], part.inner[1]]
    return out


@pytest.mark.parametrize("channels,size,tile", [
    (4, (320, 32), 48), (4, (32, 304), 16), (4, (256, 256), 64), (16, (16, 288), 32)])
def test_tiles_reproduce_the_whole(engine, channels, size, tile):
    """With the declared halo; with one step less visibly not, so it is the smallest."""
    module = recipe.network("led-unet", {"channels": channels})
    x = np.random.default_rng(7).random((1, 4, *size), dtype=np.float32)
    whole = recipe.run(module, x)
    halo = layout("led-unet", {"channels": channels}).receptive_radius
    assert recipe.error(_tiled(module, x, tile, halo), whole) < 2e-6
    assert recipe.error(_tiled(module, x, tile, halo - 16), whole) > 1e-4


@pytest.mark.parametrize("config,part", [
    ({"channels": 0}, "channels"), ({"channels": True}, "channels"), ({"width": 3}, "no option"),
    ({"inchannels": 4.0}, "inchannels"), ({"repnr": 5}, "repnr"),
    ({"repnr": {"branches": 0}}, "branches"), ({"repnr": {"aux": 1}}, "aux"),
    ({"repnr": {"branch": 5}}, "repnr"), ({"repnr": {}, "folded": True}, "folded")])
def test_impossible_settings_are_refused(config, part):
    from restore_cli.errors import WeightsError

    with pytest.raises(WeightsError, match=part):
        layout("led-unet", config)


def test_wrong_planes_are_refused(engine):
    import jittor as jt

    from restore_cli.errors import ShapeError

    module = recipe.network("led-unet", {"channels": 4})
    for shape in ((1, 3, 16, 16), (4, 16, 16)):
        with pytest.raises(ShapeError, match="x has shape"):
            module(jt.zeros(shape))
