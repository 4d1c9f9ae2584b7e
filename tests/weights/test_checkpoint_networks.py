"""Converted checkpoints, stored and read again, give the reference pictures."""

from __future__ import annotations

import numpy as np
import pytest

from restore_cli.weights import files
from restore_cli.weights.convert import convert


@pytest.mark.parametrize("case", ["20_checkpoint_zip", "20_checkpoint_metasr_legacy",
                                  "20_checkpoint_edsr_pt"])
def test_reference_outputs(engine, golden, golden_file, tmp_path, case):
    import jittor as jt

    from restore_cli.nets import registry

    reference = golden(case)
    files.write(tmp_path / "w.safetensors", convert(golden_file(reference["meta"]["file"]))[0])
    weights = files.read(tmp_path / "w.safetensors")
    network = registry.build(weights.arch, weights.config)
    network.load_state_dict(weights.tensors)
    x = jt.array((reference["x"] - 0.5) / 0.5)
    checked = 0
    for key, expected in reference.items():
        if not key.startswith("y"):
            continue
        if key == "y":
            found = network(x).numpy()
        else:
            height, width = map(int, key[2:].split("x"))
            found = network.render(network.encode(x), size=(height, width)).numpy()
            found = np.moveaxis(found, 1, 3)
        outside = np.ones(expected.shape, bool)
        mask = reference.get(f"ill_{key[2:]}", reference.get(f"tie_{key[2:]}"))
        if mask is not None:
            bits = np.unpackbits(mask)[:expected.shape[1] * expected.shape[2]]
            outside = np.broadcast_to(~bits.astype(bool).reshape(1, *expected.shape[1:3], 1),
                                      expected.shape)
        scale = max(1.0, float(np.abs(expected).max()))
        assert np.abs(found - expected)[outside].max() / scale < 1e-4
        checked += 1
    assert checked == sum(key.startswith("y") for key in reference) > 0
