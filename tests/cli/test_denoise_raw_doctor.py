"""`restore doctor --warm denoise-raw`."""

from __future__ import annotations

import io

import denoise_raw_weights
import pytest

from restore_cli.console import Console
from restore_cli.jobs import denoise_raw, doctor_warm


@pytest.mark.parametrize("channels", [4, 16])
def test_warm_leaves_nothing_to_compile(engine, tmp_path, monkeypatch, channels):
    """Plain operators and the CPU operator; then other sizes, tiles and formats."""
    from restore_cli.runtime.engine import kernels_compiled
    from restore_cli.weights.files import Weights, write

    config, path = {"channels": channels}, tmp_path / "w.safetensors"
    write(path, Weights("led-unet", config, denoise_raw_weights.tensors("led-unet", config), {}))
    monkeypatch.setattr(doctor_warm, "_weights", lambda task, folder: path)
    console = Console(stdout=io.BytesIO(), stderr=io.StringIO())
    assert "denoise-raw is ready" in doctor_warm.warm("denoise-raw", console)
    assert "warning" not in console.stderr.getvalue() and console.stdout.getvalue() == b""
    before = kernels_compiled()
    mosaic = denoise_raw_weights.raw_files.scene(326, 518)
    denoise_raw_weights.raw_files.write_dng(tmp_path / "a.dng", mosaic)
    for options in ({}, {"tile": 96, "ratio": 3.0, "keep_exposure": True, "format": "tiff"}):
        request = denoise_raw.DenoiseRawRequest(inputs=[str(tmp_path / "a.dng")], device="cpu",
                                                weights=str(path), **options)
        assert denoise_raw.run(request, console) == 0, console.stderr.getvalue()
    assert kernels_compiled() == before
