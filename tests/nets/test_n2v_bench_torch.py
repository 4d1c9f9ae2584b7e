"""The plain PyTorch networks of `restore bench denoise` meet the goldens."""

from __future__ import annotations

import n2v_recipe as recipe
import pytest

from restore_cli.errors import UsageError
from restore_cli.jobs.bench_denoise_torch import Network

CASES = [name for name in (*recipe.SEED_CASES, *recipe.FIELD_CASES) if "3d" not in name]


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_output(golden, name, channels_last):
    torch = pytest.importorskip("torch")
    arch, config = recipe.case(name)
    case = golden(name, "n2v")
    network = Network(arch, config, recipe.weights(arch, config), "cpu", channels_last)
    with torch.no_grad():
        found = network(torch.tensor(case["input"])).numpy()
    assert recipe.error(found, case["output"]) < recipe.TOLERANCE


def test_volumes_are_refused():
    pytest.importorskip("torch")
    with pytest.raises(UsageError, match="not volumes"):
        Network("n2v-field", {"conv_dims": 3}, {}, "cpu")


@pytest.mark.parametrize("name", ["care_n2v_2d", "rednet10_gray", "unet_gray"])
def test_every_trained_parameter_gets_a_gradient(golden, name):
    torch = pytest.importorskip("torch")
    arch, config = recipe.case(name)
    network = Network(arch, config, recipe.weights(arch, config), "cpu")
    network.train()
    network(torch.tensor(golden(name, "n2v")["input"])).square().sum().backward()
    assert network.parameters
    assert all(parameter.grad is not None for parameter in network.parameters)
