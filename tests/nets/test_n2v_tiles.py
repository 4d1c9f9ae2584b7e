"""The declared halo of the denoising networks: as small as it can be, and exact.

The reach is read off networks whose weights are all positive (see `test_receptive_radius`): what
does not depend on a lit pixel is exactly zero. Weights stand in the middle row only, so images
may be as low as the network allows.
"""

from __future__ import annotations

import n2v_recipe as recipe
import numpy as np
import pytest

from restore_cli.nets.layout import layout
from restore_cli.pipeline.tiles import tiles

FIELD = {"num_channels_init": 4, "use_batch_norm": False}
CASES = [("n2v-unet", {}, 160), ("rednet10", {"num_features": 8}, 18),
         ("rednet20", {"num_features": 8, "residual": False}, 38),
         ("rednet30", {"num_features": 8}, 58),
         ("n2v-field", {**FIELD, "depth": 1}, 10), ("n2v-field", FIELD, 26),
         ("n2v-field", {**FIELD, "n2v2": True}, 29), ("n2v-field", {**FIELD, "depth": 3}, 54),
         ("n2v-field", {**FIELD, "depth": 3, "n2v2": True}, 61),
         ("n2v-field", {**FIELD, "conv_dims": 3, "depth": 1}, 10)]


def _positive(arch, config):
    from restore_cli.nets import registry

    module = registry.build(arch, config)
    tensors = {}
    for key, shape in layout(arch, config).shapes.items():
        tensors[key] = np.zeros(shape, np.float32)
        if len(shape) >= 4 and shape[-1] == 3:
            tensors[key][(..., *(1,) * (len(shape) - 3), slice(None))] = \
                np.array([2.0, 1e-2, 2.0]) / shape[1]
        elif len(shape) >= 4:
            tensors[key][:] = 1 / shape[1]
    module.load_state_dict(tensors)
    return module


@pytest.mark.parametrize("arch,config,halo", CASES)
def test_halo_is_the_smallest_exact_one(engine, arch, config, halo, monkeypatch):
    """Pixels beyond an aligned border: the one `halo` away matters, the next does not."""
    import jittor as jt

    # Winograd's algorithm leaves rounding errors where stock layers have zeros.
    monkeypatch.setenv("RESTORE_WINOGRAD", "0")
    told = layout(arch, config)
    assert told.receptive_radius == halo
    dims = config.get("conv_dims", 2)
    border = -(-(halo + 8) // told.align) * told.align
    x = np.zeros((4, 1, *(told.align,) * (dims - 1), 2 * border), np.float32)
    lit = (border - halo, border - halo - 1, border + halo - 1, border + halo)
    for image, column in zip(x, lit):
        image[..., column] = 1e6
    with jt.no_grad():
        out = np.abs(_positive(arch, config)(jt.array(x)).numpy())
    reached = [out[0][..., border:], out[1][..., border:], out[2][..., :border],
               out[3][..., :border]]
    # One side may reach less far than the other (poolings look to the right only).
    left, left_more, right, right_more = (part.max() > 0 for part in reached)
    assert (left or right) and not left_more and not right_more


def _tiled(module, x, tile, halo, align):
    import jittor as jt

    out = np.zeros_like(x)
    for part in tiles(*x.shape[2:], tile, halo, align):
        rows, columns = part.read
        made = module(jt.array(np.ascontiguousarray(x[:, :, rows, columns]))).numpy()
        inner_rows, inner_columns = part.inner
        keep_rows, keep_columns = part.keep
        out[:, :, keep_rows, keep_columns] = made[:, :, inner_rows, inner_columns]
    return out


@pytest.mark.parametrize("arch,config,size,short", [
    ("n2v-unet", {}, (32, 448), 32), ("rednet20", {"num_features": 8}, (96, 10), 6),
    ("n2v-field", {**FIELD, "use_batch_norm": True}, (100, 12), 8),
    ("n2v-field", {**FIELD, "n2v2": True}, (12, 100), 8)])
def test_tiles_reproduce_the_whole(engine, arch, config, size, short):
    """With the declared halo; with a shorter one visibly not, or the test proves nothing."""
    import jittor as jt

    told = layout(arch, config)
    module = recipe.network(arch, config)
    x = np.random.default_rng(7).random((1, 1, *size), dtype=np.float32)
    with jt.no_grad():
        whole = module(jt.array(x)).numpy()
        exact, wrong = (_tiled(module, x, told.align, halo, told.align)
                        for halo in (told.receptive_radius, short))
    assert recipe.error(exact, whole) < 2e-6
    assert recipe.error(wrong, whole) > 1e-4
