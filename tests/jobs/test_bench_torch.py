"""The PyTorch reference of the benchmark computes what the published code computes."""

from __future__ import annotations

import importlib.util
import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest

from restore_cli.errors import RestoreError, UsageError
from restore_cli.jobs import bench, bench_torch

pytestmark = pytest.mark.skipif(importlib.util.find_spec("torch") is None,
                                reason="PyTorch is not installed")
DATA = Path(__file__).parents[1] / "data" / "liif"


def _recipe(name: str, rules) -> dict[str, np.ndarray]:
    weights = {}
    for key, shape, *_ in json.loads((DATA / f"{name}.keys.json").read_text()):
        value = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape)
        value = value.astype(np.float32)
        value *= np.float32(1 / np.sqrt(np.prod(shape[1:])) if value.ndim > 1 else 0.02)
        found = (factor for pattern, factor in rules if re.search(pattern, key))
        weights[key] = value * np.float32(next(found, 1))
    return weights


# Sizes without pixels whose published value depends on rounding; RDN is left out for its size.
@pytest.mark.parametrize(("name", "queries"), [
    ("02_edsr_baseline_liif", ["x2", "x4", "x7.5", "nonsq"]),
    ("06_rcan_liif_small", ["x2", "nonsq"]),
    ("07_metasr_edsr_baseline", ["x2", "x3", "x7.5"]),
    ("12_liif_d", ["x7.5"]),
])
def test_reference_meets_the_goldens(golden, name, queries):
    case = golden(name)
    meta = case["meta"]
    arch = meta["model"]["name"]
    image = ((case["x"] - 0.5) / 0.5).astype(np.float32)
    with bench_torch.Worker(arch, bench.complete(arch, meta["model"]["args"]),
                            _recipe(name, meta["rules"]), "cpu", 1) as worker:
        assert worker.about["threads"] == 1
        for query in queries:
            expected = case[f"y_{query}"]
            worker.load(image, tuple(expected.shape[1:3]))
            features, output = worker.outputs()
            if "feat" in case:
                np.testing.assert_allclose(features, case["feat"], atol=1e-4)
            np.testing.assert_allclose(output.transpose(0, 2, 3, 1), expected, atol=1e-4)


def test_a_failure_in_the_other_process_is_told_here():
    arch, config = "liif", {
        "encoder_spec": {"name": "edsr-baseline", "args": {"no_upsampling": True}},
        "imnet_spec": {"name": "mlp", "args": {"out_dim": 3, "hidden_list": [8]}}}
    with bench_torch.Worker(arch, bench.complete(arch, config), {}, "cpu", 1) as worker:
        with pytest.raises(RestoreError, match="PyTorch: KeyError.*encoder.head.0.weight"):
            worker.load(np.zeros((1, 3, 8, 8), np.float32), (16, 16))


def test_networks_without_a_plain_form_are_refused():
    with pytest.raises(UsageError, match="not edsr"):
        bench_torch.Worker("edsr", {}, {}, "cpu", 1)
