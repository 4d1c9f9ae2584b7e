"""`restore doctor --warm vsr`."""

from __future__ import annotations

import io

from vsr_films import film, small

from restore_cli.console import Console
from restore_cli.jobs import doctor_warm, vsr


def test_warm_leaves_nothing_to_compile(engine, tmp_path, monkeypatch):
    """Then other sizes, tiles, scales and cut shots."""
    from restore_cli.runtime.engine import kernels_compiled

    path = small.weights(tmp_path)
    monkeypatch.setattr(doctor_warm, "_weights", lambda task, folder: path)
    console = Console(stdout=io.BytesIO(), stderr=io.StringIO())
    assert "vsr is ready" in doctor_warm.warm("vsr", console)
    assert "warning" not in console.stderr.getvalue() and console.stdout.getvalue() == b""
    before = kernels_compiled()
    film(tmp_path / "a.mp4", 7, size="90x70")
    for number, options in enumerate(({}, {"tile": 32, "scale": 3}, {"frames": 2})):
        request = vsr.VsrRequest(inputs=[str(tmp_path / "a.mp4")], device="cpu",
                                 output=str(tmp_path / f"b{number}.mkv"), weights=str(path),
                                 **options)
        assert vsr.run(request, console) == 0, console.stderr.getvalue()
    assert kernels_compiled() == before
