"""Training the video network: the golden losses through the recipe, learning rates, samples."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from restore_cli.errors import InputError, UsageError
from restore_cli.evaluation import video_baseline
from restore_cli.training.datasets import film_clips, films, moving_samples
from restore_cli.training.datasets.films import FilmSamples, VideoBatch, VideoSampler
from restore_cli.training.datasets.sources import ArraySource
from restore_cli.training.degradations import blur
from restore_cli.weights import files

sys.path.insert(0, str(Path(__file__).parents[1] / "nets"))
import vsr_recipe  # noqa: E402

TINY = {**vsr_recipe.COMPACT, "n_feat": 8}
FLOW = {key: TINY[key] for key in ("flow_channels", "flow_dense", "flow_refine")}


def texture(count, height, width, seed=0, bits=8):
    """Frames of lively content that moves by two pixels a frame."""
    rng = np.random.default_rng(seed)
    wide = rng.integers(0, 2 ** bits, (height // 2 + 1, width // 2 + count + 1, 3))
    wide = wide.repeat(2, 0).repeat(2, 1).astype(np.uint8 if bits == 8 else np.uint16)
    return [wide[:height, 2 * i:2 * i + width] for i in range(count)]


class Fixed:
    def __init__(self, batch):
        self.one = batch

    def batch(self, step):
        del step
        return self.one


def recipe(config, batch, **more):
    from restore_cli.training.vsr import VsrRecipe

    return VsrRecipe(config, Fixed(batch), [], {"seed": 3}, {"task": "vsr"}, **more)


def test_losses_are_those_of_the_golden_run(engine, golden):
    from restore_cli.training import vsr

    case = golden("train_n16_32x48", "vsr")
    made = recipe(vsr_recipe.SMALL, None)
    made.network.load_state_dict(vsr_recipe.weights(vsr_recipe.SMALL))
    frames = case["x_u8"].astype(np.float32) * np.float32(1 / 255)
    found = vsr.losses(made.network, vsr_recipe.frames(case["x_u8"]))
    names = {"centre": "center"}
    for name, value in found.items():
        assert vsr_recipe.error(value, case[f"loss_{names.get(name, name)}"]) < 1e-4, name
    loss = made.loss(VideoBatch(frames, None))
    assert vsr_recipe.error(loss, case["loss_total"]) < 1e-4


def _silent():
    from restore_cli.console import Console

    console = Console()
    console.quiet = True
    return console


def trained(tmp_path, stage, steps=1, config=TINY, resume_at=None, flow_factor=0.01):
    """Weights before and after some steps."""
    from restore_cli.training.trainer import Plan, Trainer

    rng = np.random.default_rng(1)
    batch = VideoBatch(rng.random((2, 5, 3, 16, 16), np.float32),
                       rng.random((2, 3, 64, 64), np.float32))
    folder = tmp_path / stage
    folder.mkdir(parents=True)
    plan = Plan(steps, lambda step: 1e-3, validate_every=1000, log_every=1)

    def one():
        return recipe(config, batch, stage=stage, flow_factor=flow_factor)

    first = one()
    before = {key: value.numpy() for key, value in first.network.state_dict().items()}
    trainer = Trainer(first, plan, folder, _silent())
    if resume_at:
        trainer.plan = Plan(resume_at, plan.schedule, validate_every=1000, log_every=1)
        trainer.run()
        trainer = Trainer(one(), plan, folder, _silent())
        assert trainer.resume() and trainer.step == resume_at
    trainer.run()
    return before, trainer.weights()


@pytest.mark.parametrize("stage", ["self", "supervised"])
def test_the_flow_network_learns_a_hundred_times_slower(engine, tmp_path, stage):
    """The first step of Adam moves a weight by the learning rate, whatever its gradient."""
    before, after = trained(tmp_path, stage)
    moved = {key: np.abs(after[key] - before[key]).max() for key in before}
    flow = [value for key, value in moved.items() if key.startswith("flow_net.")]
    assert max(flow) == pytest.approx(1e-5, rel=0.05)
    kernel = [value for key, value in moved.items() if key.startswith("kernel_net.")]
    assert max(kernel) == (0 if stage == "supervised" else pytest.approx(1e-3, rel=0.01))
    assert moved["out_conv.1.bias"] == pytest.approx(1e-3, rel=0.01)


def test_a_flow_network_that_is_to_stay_as_it_is(engine, tmp_path):
    before, after = trained(tmp_path, "supervised", flow_factor=0.0)
    for key, value in before.items():
        fixed = key.startswith(("flow_net.", "kernel_net."))
        assert np.array_equal(value, after[key]) == fixed, key


def test_a_resumed_run_ends_with_the_same_bits(engine, tmp_path):
    _, whole = trained(tmp_path / "whole", "self", 4)
    _, parts = trained(tmp_path / "parts", "self", 4, resume_at=2)
    for key, value in whole.items():
        assert np.array_equal(value, parts[key]), key


def test_exported_weights_say_what_they_are(engine, tmp_path):
    made = recipe(TINY, None)
    state = {key: value.numpy() for key, value in made.network.state_dict().items()}
    made.export(tmp_path / "w.safetensors", state, {"psnr": 30.0}, 7)
    found = files.read(tmp_path / "w.safetensors")
    assert found.arch == "vsr" and found.metadata["task"] == "vsr"
    assert {key: found.config[key] for key in TINY} == TINY
    facts = json.loads(found.metadata["training"])
    assert (facts["step"], facts["validation"]) == (7, {"psnr": 30.0})


def test_first_weights_find_motion_by_correlation(engine):
    """Where a picture moves by two pixels of a level, the best match lies there at once."""
    import jittor as jt

    from restore_cli.nets import registry
    from restore_cli.nets.vsr.warp import correlation
    from restore_cli.training import vsr_flow_start

    frame = blur.blurred(texture(1, 96, 96, 5)[0], np.ones((7, 7)) / 49) / 255
    x = np.float32(np.moveaxis(frame, -1, 0))[None]
    first, second = x[:, :, 16:80, 24:88], x[:, :, 16:80, 16:80]  # moves 8 pixels to the right
    network = registry.build("vsr-flow", FLOW)

    def matches():
        with jt.no_grad():
            one, two = (network.pyramid(jt.array(np.ascontiguousarray(part))).levels[0]
                        for part in (first, second))
            one, two = ((part - part.mean(dims=(2, 3), keepdims=True)) for part in (one, two))
            two = two / (two.sqr().sum(1, keepdims=True).sqrt() + 1e-3)
            best = correlation(one, two).numpy()[:, :, 4:-4, 4:-4].argmax(1)
        return float((best == 4 * 9 + 4 + 2).mean())

    vsr_flow_start.start(network, first, 1)
    assert matches() > 0.9
    level = network.pyramid(jt.array(np.ascontiguousarray(first))).levels[0].numpy()
    assert 0.5 < np.sqrt(np.square(level).mean()) < 1.1
    kept = {key: value.numpy() for key, value in network.state_dict().items()}
    vsr_flow_start.start(network, first, 1)
    for key, value in network.state_dict().items():
        assert np.array_equal(value.numpy(), kept[key]), key


def test_flow_training_lowers_the_error(engine):
    import jittor as jt

    from restore_cli.training.adam import Adam
    from restore_cli.training.vsr_flow import FlowRecipe

    pictures = ArraySource(texture(2, 96, 96))
    sampler = moving_samples.FlowSampler(pictures, 0, patch=64, batch=2)
    batch = sampler.batch(0)
    assert batch.flow.shape == (2, 2, 64, 64) and batch.first.shape == (2, 3, 64, 64)
    made = FlowRecipe(FLOW, Fixed(batch), [batch], {"seed": 0}, {})
    assert made.still_epe() > 0
    network = made.network.state_dict()
    adam = Adam(network)
    losses = []
    for _ in range(25):
        loss = made.loss(batch)
        adam.step(loss, 3e-3)
        losses.append(loss.item())
        jt.sync_all()
    assert losses[-1] < 0.7 * losses[0]
    assert np.isfinite(made.validate()["epe"])


def test_the_finest_flow_of_all_levels_is_the_networks_own(engine):
    import jittor as jt

    from restore_cli.nets import registry
    from restore_cli.nets.vsr import pwc
    from restore_cli.training.vsr_flow import decode_all

    network = registry.build("vsr-flow", FLOW)
    one, two = (jt.array(vsr_recipe.noise(seed, 1, 3, 64, 128)) for seed in (0, 1))
    flows = decode_all(network, network.pyramid(one), network.pyramid(two))
    assert [flow.shape[3] for flow in flows] == [32, 16, 8, 4, 2]
    whole = pwc.resize(flows[0], (64, 128)) * pwc.MAGNITUDE
    assert vsr_recipe.error(whole, network(one, two).numpy()) < 1e-5


def test_a_known_shift_is_the_networks_target(engine):
    """A flow of 8 pixels on sides of 48 is one of 32/3 on the 64 the network works on."""
    import jittor as jt

    from restore_cli.training import vsr_flow

    flow = np.zeros((1, 2, 48, 48), np.float32)
    flow[:, 0] = 8
    scaled = vsr_flow._scaled(jt.array(flow))
    assert scaled.shape == [1, 2, 64, 64]
    coarse = vsr_flow._averaged(scaled, 4).numpy()
    assert coarse.shape == (1, 2, 4, 4)
    np.testing.assert_allclose(coarse[0, 0], 8 * 64 / 48 / 20, rtol=1e-6)
    assert not coarse[0, 1].any()


def clip(frames, starts=(0,)):
    return film_clips.FilmClip("clip", np.stack(frames), starts)


@pytest.mark.parametrize("mode", ["gaussian", "realistic"])
def test_samples_of_clips_are_blurred_crops(mode):
    frames = texture(7, 80, 96)
    windows = film_clips.Windows([clip(frames)], 64)
    assert len(windows) == 3
    source = FilmSamples(windows, 5, patch=16, mode=mode)
    small, large, flows, kernel = source.sample(0)
    assert small.shape == (5, 3, 16, 16) and large.shape == (3, 64, 64) and flows is None
    assert kernel.shape == (1, 13, 13) and kernel.sum() == pytest.approx(1, abs=1e-5)
    assert small.dtype == large.dtype == np.float32
    assert not np.array_equal(np.rint(small * 255), small * 255), "training frames are not rounded"
    # The small frame lies on every 4th pixel of the large one: nearer than on any other phase.
    wide = np.moveaxis(video_baseline.enlarge(np.moveaxis(small[2], 0, -1)), -1, 0)
    errors = {(y, x): np.abs(wide[:, 8:-8, 8:-8] - np.roll(large, (y, x), (1, 2))[:, 8:-8, 8:-8]
                             ).mean() for y in (-2, 0, 2) for x in (-2, 0, 2)}
    assert min(errors, key=errors.get) == (0, 0)
    again = FilmSamples(windows, 5, patch=16, mode=mode).sample(0)
    assert np.array_equal(again[0], small) and np.array_equal(again[1], large)
    assert not np.array_equal(source.sample(1)[0], small)


def test_frames_taken_as_they_are_have_no_truth():
    frames = texture(5, 40, 40, bits=16)
    batch = VideoSampler(FilmSamples(film_clips.Windows([clip(frames)], 24), 0, patch=24,
                                     mode=None), 2).batch(0)
    assert batch.frames.shape == (2, 5, 3, 24, 24) and batch.large is None
    assert set(np.unique(batch.frames * 65535).round().astype(int)) <= set(
        np.unique(np.stack(frames)).tolist())
    with pytest.raises(UsageError, match="--blur"):
        FilmSamples(film_clips.Windows([clip(frames)]), 0, patch=8, mode="box")


def test_flips_and_turns_are_the_same_for_all_frames():
    """Every frame is the one before, moved by two pixels in one of the four directions."""
    frames = texture(5, 72, 72)
    source = FilmSamples(film_clips.Windows([clip(frames)], 48), 1, patch=48, mode=None)
    directions = set()
    for draw in range(12):
        small = source.sample(draw)[0]
        one, two = small[1][:, 4:-4, 4:-4], small[2]
        hits = [(y, x) for y, x in ((0, 2), (0, -2), (2, 0), (-2, 0))
                if np.array_equal(one, two[:, 4 + y:44 + y, 4 + x:44 + x])]
        assert len(hits) == 1
        directions.update(hits)
    assert len(directions) == 4


def test_smooth_crops_are_drawn_again():
    """Half of the frame is plain: seldom taken, as five draws in a row must hit it."""
    rng = np.random.default_rng(0)
    frame = np.full((64, 256, 3), 128, np.uint8)
    frame[:, :128] = rng.integers(0, 256, (64, 128, 3))
    windows = film_clips.Windows([clip([frame] * 5)], 32)
    source = FilmSamples(windows, 0, patch=32, mode=None)
    plain = sum(blur.smoothness(np.moveaxis(source.sample(draw)[0][2], 0, -1) * 255) < 7
                for draw in range(40))
    assert plain <= 5


def test_windows_do_not_cross_cuts():
    windows = film_clips.Windows([clip(texture(12, 16, 16), (0, 4, 10))])
    assert len(windows) == 2  # 4, 6 and 2 frames
    assert windows.epoch() == 2 * 1000
    with pytest.raises(InputError, match="smaller than the patches of 20"):
        film_clips.Windows([clip(texture(5, 16, 32))], 20)


def test_held_windows_are_scored_against_the_truth():
    windows = film_clips.Windows([clip(texture(9, 70, 90))])
    held = films.held_out(windows, "gaussian", 3, 16, 0)
    assert len(held) == 3
    for one in held:
        assert one.frames.shape == (5, 3, 16, 16) and one.large.shape == (3, 64, 64)
        np.testing.assert_allclose(one.frames * 255, np.rint(one.frames * 255), atol=1e-4)
        assert one.psnr(one.large) == np.inf
        assert 5 < one.psnr(one.bicubic()) < 30


def test_scenes_as_samples():
    pictures = ArraySource(texture(3, 80, 80))
    source = moving_samples.SceneSamples(pictures, 0, patch=16, mode="realistic")
    small, large, flows, kernel = source.sample(0)
    assert kernel.shape == (1, 13, 13)
    assert small.shape == (5, 3, 16, 16) and large.shape == (3, 64, 64)
    assert flows.shape == (4, 2, 16, 16) and np.abs(flows).max() > 0.1
    again, other = source.sample(32), source.sample(128)  # of the same scene, and of the next
    sides = [np.sort(one[1].ravel()) for one in (source.sample(0), again, other)]
    assert np.array_equal(sides[0], sides[1]) and not np.array_equal(sides[0], sides[2])
    assert not np.array_equal(small, again[0])
    assert np.array_equal(source.sample(0)[0], small)
    held = source.held(2)
    assert held[0].frames.shape == (5, 3, 16, 16)
    assert not np.array_equal(held[0].large, held[1].large)
    with pytest.raises(UsageError, match="--blur"):
        moving_samples.SceneSamples(pictures, 0, patch=16, mode="box")


def test_flows_are_turned_with_their_frames():
    """Sampling a turned frame at its turned flow gives the turned middle frame."""
    from scipy.ndimage import map_coordinates

    from restore_cli.training.datasets.moving import MovingScenes

    grain = np.random.default_rng(1).normal(size=(96, 96, 3))
    smooth = blur.blurred(grain, np.ones((5, 5)) / 25)
    picture = np.uint8((128 + 300 * smooth).clip(0, 255))
    scene = MovingScenes(ArraySource([picture]), (64, 64), 5, speed=6.0, things=0).scene(0, 3)
    frames, flow = scene.frames(), scene.flow(2, 3)
    assert np.abs(flow).max() > 0.3
    for number in range(8):
        how = [bool(number & bit) for bit in (1, 2, 4)]
        first, second = (films.turned(frames[i], *how).astype(float) for i in (2, 3))
        x, y = films.turned_flow(flow, *how)
        rows, columns = np.mgrid[:64, :64]
        errors = []
        for sign in (1, -1):
            found = map_coordinates(second[..., 1], [rows + sign * y, columns + sign * x], order=1)
            errors.append(np.abs(found - first[..., 1])[12:-12, 12:-12].mean())
        assert errors[0] < 0.5 * errors[1], how


def test_known_flows_are_part_of_the_loss(engine):
    import jittor as jt

    rng = np.random.default_rng(2)
    batch = VideoBatch(rng.random((1, 5, 3, 16, 16), np.float32),
                       rng.random((1, 3, 64, 64), np.float32))
    made = recipe(TINY, None, stage="supervised", flow_weight=0.5)
    _, flows = made.network.with_flows(jt.array(batch.frames))
    found = np.stack([flow.numpy() for flow in flows], 1)
    away = found + np.float32([3, 4]).reshape(1, 1, 2, 1, 1)
    told = [VideoBatch(batch.frames, batch.large, one) for one in (away, found, None)]
    losses = [float(made.loss(one).item()) for one in told]
    assert losses[0] - losses[2] == pytest.approx(2.5, rel=1e-4)
    assert losses[1] - losses[2] == pytest.approx(0, abs=1e-3)


def test_known_kernels_are_part_of_the_loss(engine, tmp_path):
    """And the kernel network is then trained, by nothing else."""
    import jittor as jt

    rng = np.random.default_rng(2)
    batch = VideoBatch(rng.random((2, 5, 3, 16, 16), np.float32),
                       rng.random((2, 3, 64, 64), np.float32), None,
                       np.zeros((2, 1, 13, 13), np.float32))
    made = recipe(TINY, None, stage="supervised", kernel_weight=0.5)
    assert not made.frozen
    weighed = made.loss(batch)
    plain = made.loss(VideoBatch(batch.frames, batch.large))
    assert float((weighed - plain).item()) == pytest.approx(0.5, abs=1e-4)  # kernels sum to 1
    key = next(value for name, value in made.network.state_dict().items()
               if name == "kernel_net.fc_net.1.weight")
    moved = [float(jt.grad(loss, key).abs().sum().item()) for loss in (weighed, plain)]
    assert moved[0] > 0 and moved[1] == 0


def test_noise_in_half_of_the_samples():
    class Gray:
        def sample(self, draw):
            del draw
            return (np.full((5, 3, 32, 32), 0.5, np.float32),
                    np.full((3, 128, 128), 0.5, np.float32), None, None)

    batches = [VideoSampler(Gray(), 8, noise=5.0, seed=2).batch(step) for step in range(20)]
    sigmas = np.concatenate([batch.frames.std(axis=(1, 2, 3, 4)) for batch in batches]) * 255
    assert 0.35 < (sigmas == 0).mean() < 0.65 and 4 < sigmas.max() < 5.1
    frames = batches[0].frames[sigmas[:8].argmax()]
    assert abs(np.corrcoef(frames[0].ravel(), frames[1].ravel())[0, 1]) < 0.1
    assert all((batch.large == 0.5).all() for batch in batches)
    with pytest.raises(UsageError, match="--noise"):
        VideoSampler(Gray(), 8, noise=-1.0)
