"""Restormer for RAW planes: golden cases, PyTorch, gradients, and its operators."""

from __future__ import annotations

import led_recipe as recipe
import numpy as np
import pytest

from restore_cli.errors import ShapeError, WeightsError
from restore_cli.nets.layout import layout
from restore_cli.nets.led import fold, shapes_restormer

SMALL = {"dim": 16, "num_blocks": [1, 1, 1, 1]}
TUNED = {"dim": 8, "num_blocks": [1, 1, 1, 1], "repnr": recipe.FINETUNE}
CASES = [("restormer_full", {}), ("restormer_small", SMALL), ("repnr_restormer_finetune", TUNED),
         ("full_led_restormer_finetune", {"repnr": recipe.FINETUNE})]
TINY = {"dim": 6, "num_blocks": [1, 1, 1, 1], "heads": [1, 2, 3, 4]}
# Widths and heads that fill no vector, biases, the other norm, levels without blocks, any sides.
OTHERS = [(TINY, (2, 4, 9, 21)), ({**TINY, "bias": True}, (1, 4, 16, 8)),
          ({**TINY, "LayerNorm_type": "BiasFree"}, (1, 4, 8, 24)),
          ({**TINY, "folded": True}, (2, 4, 13, 16)),
          ({"dim": 2, "num_blocks": [1, 0, 0, 1], "heads": [2, 1, 1, 4], "inp_channels": 3,
            "out_channels": 3, "ffn_expansion_factor": 1}, (1, 3, 8, 8)),
          ({"dim": 16, "num_blocks": [1, 1, 0, 0], "heads": [1, 1, 1, 1]}, (1, 4, 72, 264))]


@pytest.fixture
def led(golden):
    return lambda name: golden(name, "led")


@pytest.mark.parametrize("name,config", CASES)
def test_layout_is_upstreams_list_of_keys(name, config):
    told = layout("led-restormer", config)
    assert list(told.shapes.items()) == recipe.keys(name)
    assert told.receptive_radius is None


@pytest.mark.parametrize("config", [config for _, config in CASES] + [c for c, _ in OTHERS])
def test_built_network_has_the_layouts_keys(engine, config):
    from restore_cli.nets import registry

    module = registry.build("led-restormer", config)
    module.train()
    built = module.state_dict()
    assert {key: tuple(value.shape) for key, value in built.items()} == \
        layout("led-restormer", config).shapes
    assert not any(value.is_stop_grad() for value in built.values())


def test_sizes():
    told = layout("led-restormer", {})
    assert (told.parameters, told.align, told.scale) == (4_531_405, 8, 1)
    assert len(layout("led-restormer", {"repnr": recipe.PRETRAIN}).shapes) == 1003


def test_folded_form_has_biases():
    """Of every convolution that RepNR replaces, and of no other."""
    plain, folded = (layout("led-restormer", {**SMALL, "folded": f}).shapes for f in (False, True))
    added = {key.removesuffix(".bias") for key in folded if key not in plain}
    assert added == set(fold.layers(layout("led-restormer", {**SMALL, "repnr": {}}).shapes))
    assert all(folded[f"{key}.bias"] == folded[f"{key}.weight"][:1] for key in added)


@pytest.mark.parametrize("fused", ["1", "0"])
@pytest.mark.parametrize("name,config", CASES[:3])
def test_output(engine, led, name, config, fused, monkeypatch):
    monkeypatch.setenv("RESTORE_FUSED", fused)
    case = led(name)
    out = recipe.run(recipe.network("led-restormer", config), case["x"])
    assert recipe.error(out, case["out"]) < recipe.TOLERANCE


@pytest.mark.parametrize("name,config", CASES[:2])
def test_inside(engine, led, name, config, monkeypatch):
    """Raw outputs of layers, as the plain modules give them."""
    monkeypatch.setenv("RESTORE_FUSED", "0")
    case, module = led(name), recipe.network("led-restormer", config)
    block, seen = module.encoder_level1[0], {}
    layers = {"mid_patch_embed": module.patch_embed, "mid_encoder_level1_0": block,
              "mid_latent": module.latent, "mid_up2_1": module.up2_1}
    for key, layer in layers.items():
        layer.register_forward_hook(
            lambda _layer, _inputs, out, key=key: seen.__setitem__(key, out.numpy()))
    recipe.run(module, case["x"])
    assert set(seen) == set(layers)
    import jittor as jt

    with jt.no_grad():
        seen["mid_encoder_level1_0_attn"] = block.attn(
            block.norm1(module.patch_embed(jt.array(case["x"])))).numpy()
    for key, value in seen.items():
        assert recipe.error(value[:, :4, :8, :8], case[key]) < recipe.TOLERANCE


def test_folded_weights_are_the_golden_ones(engine, led):
    """And their network gives the fine-tuned answer, through the operators."""
    case = led("repnr_restormer_finetune")
    plain, state = fold.ready("led-restormer", TUNED, recipe.weights("led-restormer", TUNED))
    for key in ("patch_embed.proj", "encoder_level1.0.attn.qkv", "down1_2.body.0"):
        for part in ("weight", "bias"):
            assert recipe.error(state[f"{key}.{part}"], case[f"fold_{key}_{part}"]) < 1e-5
    out = recipe.run(recipe.network("led-restormer", plain, state), case["x"])
    assert recipe.error(out, case["out"]) < recipe.TOLERANCE


@pytest.mark.parametrize("fused", ["1", "0"])
@pytest.mark.parametrize("config,shape", OTHERS)
def test_output_is_pytorchs(engine, config, shape, fused, monkeypatch):
    torch = pytest.importorskip("torch")
    from led_attention_torch import Restormer

    monkeypatch.setenv("RESTORE_FUSED", fused)
    tensors, x = recipe.weights("led-restormer", config), recipe.noise(1, *shape)
    with torch.no_grad():
        expected = Restormer(tensors, shapes_restormer.complete(config))(torch.tensor(x).double())
    out = recipe.run(recipe.network("led-restormer", config, tensors), x)
    assert recipe.error(out, expected.numpy()) < 1e-5


@pytest.mark.parametrize("fused", ["1", "0"])
def test_an_image_without_content(engine, fused, monkeypatch):
    """Queries and keys of length 0 have no direction; nothing is divided by 0."""
    monkeypatch.setenv("RESTORE_FUSED", fused)
    out = recipe.run(recipe.network("led-restormer", TINY), np.zeros((1, 4, 8, 8), np.float32))
    assert np.isfinite(out).all()


@pytest.mark.parametrize("config,branch,shape", [
    (TINY, -1, (2, 4, 8, 16)),
    ({**TINY, "repnr": {"branches": 2, "aux": False}}, 1, (1, 4, 16, 8)),
    ({**TINY, "repnr": {"branches": 2, "aux": True}, "bias": True}, "mean", (1, 4, 9, 12))])
def test_gradients(engine, config, branch, shape):
    """Of every parameter, those of other branches being zero, and of the input."""
    torch = pytest.importorskip("torch")
    import jittor as jt
    from led_attention_torch import Restormer

    from restore_cli.nets.led.repnr import use_branch

    tensors = recipe.weights("led-restormer", config)
    x, target = recipe.noise(3, *shape), recipe.noise(4, *shape)
    reference = Restormer(tensors, shapes_restormer.complete(config), branch)
    given = torch.tensor(x).double().requires_grad_()
    (reference(given) * torch.tensor(target)).sum().backward()
    module = recipe.trained("led-restormer", config, tensors)
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


@pytest.mark.parametrize("config,part", [
    ({"dim": 5}, "dim"), ({"heads": [3, 2, 4, 8]}, "heads"), ({"heads": [1, 2]}, "heads"),
    ({"num_blocks": [1, 1, 1]}, "num_blocks"), ({"bias": 1}, "bias"),
    ({"LayerNorm_type": "none"}, "LayerNorm_type"), ({"out_channels": 3}, "out_channels"),
    ({"ffn_expansion_factor": 0}, "ffn_expansion_factor"),
    ({"ffn_expansion_factor": float("nan")}, "ffn_expansion_factor"),
    ({"width": 3}, "no option width"), ({"folded": 1}, "folded"),
    ({"repnr": {"branch": 5}}, "repnr")])
def test_impossible_settings_are_refused(config, part):
    with pytest.raises(WeightsError, match=part):
        layout("led-restormer", config)


def test_wrong_channels_are_refused(engine):
    import jittor as jt

    with pytest.raises(ShapeError, match=r"\(N, 4, H, W\)"):
        recipe.network("led-restormer", TINY)(jt.zeros((4, 8, 8)))
