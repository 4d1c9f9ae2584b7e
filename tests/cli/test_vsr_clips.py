"""`restore vsr` on real clips: what independent programs see in the results."""

from __future__ import annotations

import io

import pytest
from vsr_films import films, small

from restore_cli.cli.app import main
from restore_cli.console import Console
from restore_cli.media import video


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return small.weights(tmp_path_factory.mktemp("vsr-weights"))


@pytest.fixture
def repeated(monkeypatch):
    """Frames are enlarged without the network: what is tested lies around it."""
    from restore_cli.jobs.vsr_stream import Stream

    def enlarge(self, window):
        rgb = window[len(window) // 2].frame.rgb
        return rgb.repeat(self._scale, 0).repeat(self._scale, 1)

    return lambda: monkeypatch.setattr(Stream, "enlarge", enlarge)


@pytest.mark.parametrize("name,plain", [
    ("carphone_nonsquare_sar.mp4", True), ("hevc_10bit.mp4", False),
    ("nasa_multi_stream.mp4", True), ("rotated_0.mov", True), ("rotated_90.mov", True),
    ("rotated_270.mov", True), ("tiny_64x64_5frames.mp4", False), ("vfr_audio_first.mp4", True)])
def test_a_clip(engine, shared_data, tmp_path, network, repeated, name, plain):
    if plain:
        repeated()
    source, target = shared_data / "video" / "clips" / name, tmp_path / name
    console = Console(io.BytesIO(), io.BytesIO(), io.StringIO(), environ={})
    status = main(["vsr", str(source), "-o", str(target), "-w", str(network), "--device", "cpu",
                   "--frames", "2", "--scale", "2"], console)
    assert status == 0, console.stderr.getvalue()
    before, after = video.probe(source), video.probe(target)
    assert (after.width, after.height) == (2 * before.width, 2 * before.height)
    assert after.rotation == 0 and after.bits == before.bits
    assert (after.sample_aspect or 1) == (before.sample_aspect or 1)
    kinds = [one.kind for one in before.streams if one.kind in ("video", "audio", "subtitle")]
    assert sorted(one.kind for one in after.streams if one.kind != "data") == sorted(kinds)
    wanted = [one - films.times(source, before.index)[0]
              for one in films.times(source, before.index)[:2]]
    found = films.times(target)
    assert [float(one - found[0]) for one in found] == pytest.approx(
        [float(one) for one in wanted], abs=1e-3)
    assert after.tags.get("title") == before.tags.get("title")
