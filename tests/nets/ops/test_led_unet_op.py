"""LED's U-Net as one operator, against the same network in stock operators."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import fused_checks
import numpy as np
import pytest

from restore_cli.errors import ShapeError

# channels, (N, H, W)
CASES = [(16, (2, 32, 48)), (32, (1, 16, 16)), (48, (1, 48, 16)), (16, (3, 16, 80))]


def _shapes(channels):
    """Shapes of weights and biases in the order of the state dict, by hand from the paper."""
    plan, inputs = [], 4
    for wide in (channels << level for level in range(5)):
        plan += [(wide, inputs, 3), (wide, wide, 3)]
        inputs = wide
    for wide in (channels << level for level in reversed(range(4))):
        plan += [(2 * wide, wide, 2), (wide, 2 * wide, 3), (wide, wide, 3)]
    plan.append((4, channels, 1))
    return [shape for a, b, k in plan for shape in ((a, b, k, k), (b if k == 2 else a,))]


def _draw(rng, shape):
    import jittor as jt

    scale = 1.4 * (shape[1] * shape[2] * shape[3]) ** -0.5 if len(shape) > 1 else 0.1
    return jt.array((scale * rng.standard_normal(shape)).astype(np.float32))


def _plain(x, parameters, margins=None):
    """The network in stock operators.

    Args:
        margins: receives how far, in parts of the largest value, the inputs of each activation
            are from 0 at least, and those of each pooling from another choice.
    """
    import jittor as jt
    from jittor import nn

    from restore_cli.nets.n2v.layers import max_pool

    left = list(parameters)

    def block(x):
        for _ in range(2):
            x = nn.conv2d(x, left.pop(0), left.pop(0), padding=1)
            if margins is not None:
                values = np.abs(x.numpy())
                margins.append(values.min() / values.max())
            x = nn.leaky_relu(x, 0.2)
        return x

    skips = []
    for _ in range(4):
        skips.append(block(x))
        if margins is not None:
            values = skips[-1].numpy()
            squares = np.sort([values[..., i::2, j::2] for i in (0, 1) for j in (0, 1)], axis=0)
            margins.append((squares[3] - squares[2]).min() / np.abs(values).max())
        x = max_pool(skips[-1])
    x = block(x)
    for skip in reversed(skips):
        x = nn.conv_transpose2d(x, left.pop(0), left.pop(0), stride=2)
        x = block(jt.concat([x, skip], dim=1))
    return nn.conv2d(x, *left)


def _case(case, seed=5):
    """Both forms as functions of x and the parameters; and values."""
    import jittor as jt

    from restore_cli.nets.ops import led_unet

    channels, (count, height, width) = case
    if not led_unet.usable({"inchannels": 4, "outchannels": 4, "channels": channels}):
        pytest.skip("the operator cannot run here")
    rng = np.random.default_rng(seed)
    parameters = [_draw(rng, shape) for shape in _shapes(channels)]

    def fused(x, parameters):
        return led_unet.led_unet(x, parameters, channels)

    x, probe = (jt.array(rng.standard_normal((count, 4, height, width)).astype(np.float32))
                for _ in range(2))
    return _plain, fused, x, parameters, probe


@pytest.mark.parametrize("case", CASES)
def test_inference_equals_plain(engine, case):
    fused_checks.inference_equals_plain(_case(case))


@pytest.mark.parametrize("case", [(16, (2, 16, 16)), (16, (1, 16, 32)), (32, (1, 16, 16)),
                                  (48, (1, 16, 16))])
def test_gradients_equal_plain(engine, case):
    import jittor as jt

    # Rounding may take a value over 0, or make another one the largest; that changes gradients
    # by percents in any implementation. So a draw in which no value is that near.
    for seed in range(40):
        plain, fused, x, parameters, probe = _case(case, seed)
        with jt.no_grad():
            plain(x, parameters, margins := [])
        if min(margins) > 3e-6:
            break
    else:
        pytest.fail("all draws have values too near to a kink")
    fused_checks.gradients_equal_plain((plain, fused, x, parameters, probe), 1e-4)


def test_training_and_inference_agree_and_see_new_weights(engine):
    fused_checks.training_and_inference_agree_and_see_new_weights(_case(CASES[0]), changed=20)


def test_repeats_to_the_last_bit(engine):
    fused_checks.repeats_to_the_last_bit(_case(CASES[0]))


def test_images_of_a_batch_do_not_meet(engine):
    fused_checks.images_of_a_batch_do_not_meet(_case(CASES[0]))


@pytest.mark.parametrize("shape", [(1, 3, 16, 16), (1, 4, 24, 16), (1, 4, 16, 17), (4, 16, 16),
                                   (1, 4, 0, 16)])
def test_refuses_other_shapes(engine, shape):
    import jittor as jt

    _, fused, _, parameters, _ = _case(CASES[0])
    with pytest.raises(ShapeError):
        fused(jt.zeros(shape), parameters)


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from Linux")
@pytest.mark.parametrize("case", [(16, 1, 512, 512, False), (32, 2, 256, 256, False),
                                  (16, 4, 128, 128, True)])
def test_memory_as_promised(case):
    """In a process of its own, because memory of earlier runs would be used again."""
    run = subprocess.run([sys.executable, "-c", _MEMORY, json.dumps(case)], text=True, check=True,
                         capture_output=True, cwd=Path(__file__).parents[3])
    measured, promised = json.loads(run.stdout.splitlines()[-1])
    assert 0.8 * promised < measured < promised + 3e6, (measured, promised)


_MEMORY = """
import json, sys
import numpy as np
from restore_cli.runtime import engine
engine.start("cpu")
import jittor as jt
sys.path.insert(0, "tests/nets/ops")
import test_led_unet_op as case
from restore_cli.nets.ops import led_unet

def status(key):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(key)) * 1024

channels, count, height, width, training = json.loads(sys.argv[1])
rng = np.random.default_rng(0)
parameters = [case._draw(rng, shape) for shape in case._shapes(channels)]
jt.sync(parameters)
image = rng.standard_normal((count, 4, height, width)).astype(np.float32)
before = status("VmRSS")
for _ in range(2):
    with jt.flag_scope(no_grad=int(not training)):
        y = led_unet.led_unet(jt.array(image), parameters, channels)
        made = [y.abs().mean()] if training else [y]
        jt.sync(made + (jt.grad(made[0], parameters) if training else []))
print(json.dumps([status("VmHWM") - before,
                  led_unet.peak_bytes(channels, height, width, count, training)]))
"""


def test_refuses_other_parameters(engine):
    from restore_cli.nets.ops.led_unet import led_unet

    _, fused, x, parameters, _ = _case(CASES[0])
    with pytest.raises(ShapeError):
        fused(x, parameters[:-1])
    with pytest.raises(ShapeError):
        led_unet(x, parameters, 32)


def test_usable_only_for_what_it_computes(engine, monkeypatch):
    from restore_cli.nets.ops.led_unet import usable

    good = {"inchannels": 4, "outchannels": 4, "channels": 32}
    assert usable(good)
    for key, value in (("inchannels", 3), ("outchannels", 12), ("channels", 24)):
        assert not usable({**good, key: value}), key
    for name in ("RESTORE_FUSED", "RESTORE_WINOGRAD"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "0")
            assert not usable(good)
