"""NAFNet for RAW planes: golden cases, PyTorch, gradients, and its operators."""

from __future__ import annotations

import led_recipe as recipe
import numpy as np
import pytest

from restore_cli.errors import ShapeError, WeightsError
from restore_cli.nets.layout import layout
from restore_cli.nets.led import fold, shapes_nafnet

SMALL = {"width": 8, "middle_blk_num": 1, "enc_blk_nums": [1, 2], "dec_blk_nums": [1, 1]}
CASES = [("nafnet_full", {}), ("nafnet_small", SMALL),
         ("repnr_nafnet_finetune", {**SMALL, "repnr": recipe.FINETUNE}),
         ("full_led_nafnet_finetune", {"repnr": recipe.FINETUNE})]
# Widths that are no multiple of a vector, levels without blocks, batches, wide and tiny images.
OTHERS = [({**SMALL, "width": 5}, (3, 4, 9, 33)), ({**SMALL, "width": 16}, (1, 4, 70, 301)),
          ({"width": 3, "middle_blk_num": 0, "enc_blk_nums": [0, 1, 0],
            "dec_blk_nums": [1, 0, 0]}, (2, 4, 1, 1)),
          ({"width": 17, "img_channel": 3, "middle_blk_num": 1, "enc_blk_nums": [1],
            "dec_blk_nums": [2]}, (1, 3, 21, 8)),
          ({**SMALL, "folded": True}, (2, 4, 16, 19))]


@pytest.fixture
def led(golden):
    return lambda name: golden(name, "led")


@pytest.mark.parametrize("name,config", CASES)
def test_layout_is_upstreams_list_of_keys(name, config):
    told = layout("led-nafnet", config)
    assert list(told.shapes.items()) == recipe.keys(name)
    assert told.receptive_radius is None


@pytest.mark.parametrize("name,config", CASES)
def test_built_network_has_the_layouts_keys(engine, name, config):
    from restore_cli.nets import registry

    module = registry.build("led-nafnet", config)
    module.train()
    built = module.state_dict()
    assert [(key, tuple(value.shape)) for key, value in built.items()] == recipe.keys(name)
    assert not any(value.is_stop_grad() for value in built.values())


def test_sizes():
    told = layout("led-nafnet", {})
    assert (told.parameters, told.align, told.scale) == (7_600_228, 16, 1)
    assert len(layout("led-nafnet", {"repnr": recipe.PRETRAIN}).shapes) == 1432


@pytest.mark.parametrize("fused", ["1", "0"])
@pytest.mark.parametrize("name,config", CASES[:3])
def test_output(engine, led, name, config, fused, monkeypatch):
    monkeypatch.setenv("RESTORE_FUSED", fused)
    case = led(name)
    out = recipe.run(recipe.network("led-nafnet", config), case["x"])
    assert recipe.error(out, case["out"]) < recipe.TOLERANCE


@pytest.mark.parametrize("name,config", CASES[:2])
def test_inside(engine, led, name, config):
    case, module = led(name), recipe.network("led-nafnet", config)
    seen: dict[str, np.ndarray] = {}
    layers = {"mid_intro": (module, "intro"), "mid_encoders_0": (module.encoders, "0"),
              "mid_middle_blks": (module, "middle_blks"), "mid_ups_0": (module.ups, "0")}
    for key, (owner, child) in layers.items():
        layer = getattr(owner, child) if hasattr(owner, child) else owner[int(child)]
        layer.register_forward_hook(
            lambda _layer, _inputs, out, key=key: seen.__setitem__(key, out.numpy()))
    recipe.run(module, case["x"])
    assert set(seen) == set(layers)
    for key, value in seen.items():
        assert recipe.error(value[:, :4, :8, :8], case[key]) < recipe.TOLERANCE


def test_folded_weights_are_the_golden_ones(engine, led):
    """And their network gives the fine-tuned answer, through the operators."""
    name, config = CASES[2]
    case = led(name)
    plain, state = fold.ready("led-nafnet", config, recipe.weights("led-nafnet", config))
    for key in ("intro", "encoders.0.0.conv1", "encoders.0.0.sca.1"):
        for part in ("weight", "bias"):
            assert recipe.error(state[f"{key}.{part}"], case[f"fold_{key}_{part}"]) < 1e-5
    out = recipe.run(recipe.network("led-nafnet", plain, state), case["x"])
    assert recipe.error(out, case["out"]) < recipe.TOLERANCE


@pytest.mark.parametrize("fused", ["1", "0"])
@pytest.mark.parametrize("config,shape", OTHERS)
def test_output_is_pytorchs(engine, config, shape, fused, monkeypatch):
    torch = pytest.importorskip("torch")
    from led_attention_torch import NAFNet

    monkeypatch.setenv("RESTORE_FUSED", fused)
    tensors, x = recipe.weights("led-nafnet", config), recipe.noise(1, *shape)
    with torch.no_grad():
        expected = NAFNet(tensors, shapes_nafnet.complete(config))(torch.tensor(x).double())
    out = recipe.run(recipe.network("led-nafnet", config, tensors), x)
    assert recipe.error(out, expected.numpy()) < 1e-5


@pytest.mark.parametrize("config,branch,shape", [
    (SMALL, -1, (2, 4, 10, 12)),
    ({**SMALL, "repnr": {"branches": 2, "aux": False}}, 1, (1, 4, 8, 9)),
    ({**SMALL, "repnr": {"branches": 3, "aux": True}}, "mean", (1, 4, 8, 8))])
def test_gradients(engine, config, branch, shape):
    """Of every parameter, those of other branches being zero, and of the input."""
    torch = pytest.importorskip("torch")
    import jittor as jt
    from led_attention_torch import NAFNet

    from restore_cli.nets.led.repnr import use_branch

    tensors = recipe.weights("led-nafnet", config)
    x, target = recipe.noise(3, *shape), recipe.noise(4, *shape)
    reference = NAFNet(tensors, shapes_nafnet.complete(config), branch)
    given = torch.tensor(x).double().requires_grad_()
    (reference(given) * torch.tensor(target)).sum().backward()
    module = recipe.trained("led-nafnet", config, tensors)
    use_branch(module, branch)
    own, given_here = module.state_dict(), jt.array(x)
    loss = (module(given_here) * jt.array(target)).sum()
    grads = jt.grad(loss, [*(own[key] for key in tensors), given_here])
    assert recipe.error(grads[-1], given.grad.numpy()) < 1e-4
    for (key, wanted), grad in zip(reference.tensors.items(), grads):
        if wanted.grad is None or not wanted.grad.any():
            assert "align" in key and not grad.numpy().any(), key
        else:
            assert recipe.error(grad, wanted.grad.numpy()) < 1e-3, key


def test_operators_serve_inference_only(engine, monkeypatch):
    """With gradients, or when switched off, the stock layers run."""
    import jittor as jt

    from restore_cli.nets.ops import led_blocks

    assert not led_blocks.usable()
    with jt.no_grad():
        assert led_blocks.usable()
        monkeypatch.setenv("RESTORE_FUSED", "0")
        assert not led_blocks.usable()


@pytest.mark.parametrize("config,part", [
    ({"width": 0}, "width"), ({"enc_blk_nums": []}, "enc_blk_nums"),
    ({"enc_blk_nums": 4}, "enc_blk_nums"), ({"dec_blk_nums": [1]}, "dec_blk_nums"),
    ({"enc_blk_nums": [1, -1, 1, 1]}, "enc_blk_nums"), ({"middle_blk_num": True}, "middle"),
    ({"width": 2.5}, "width"), ({"heads": [1]}, "no option heads"),
    ({"enc_blk_nums": [1] * 9, "dec_blk_nums": [1] * 9}, "1 to 8"),
    ({"folded": True, "repnr": {}}, "folded"), ({"repnr": {"branches": 0}}, "branches")])
def test_impossible_settings_are_refused(config, part):
    with pytest.raises(WeightsError, match=part):
        layout("led-nafnet", config)


def test_wrong_channels_are_refused(engine):
    import jittor as jt

    with pytest.raises(ShapeError, match=r"\(N, 4, H, W\)"):
        recipe.network("led-nafnet", SMALL)(jt.zeros((1, 3, 8, 8)))
