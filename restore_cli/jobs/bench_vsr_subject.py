"""One network of `restore bench vsr`, as this program runs it."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from restore_cli.console import Console
from restore_cli.errors import ExitStatus, RestoreError
from restore_cli.jobs import bench_rounds, bench_vsr_data, vsr_network
from restore_cli.jobs.bench_vsr_torch import Work
from restore_cli.jobs.train_vsr import MODELS
from restore_cli.jobs.vsr_plan import Plan
from restore_cli.jobs.vsr_stream import Held, Stream, planes
from restore_cli.media import video
from restore_cli.nets.vsr import shapes
from restore_cli.pipeline import windows

if TYPE_CHECKING:
    from restore_cli.jobs.bench_vsr import VsrBenchRequest

SPLIT = ("decode", "compute", "encode")
"""The pipeline's three threads, each on its own."""


class Subject:
    """One network under test.

    Args:
        name: a key of `train_vsr.MODELS`.
        parts: what is timed of it.
        film: for the pipeline.
        folder: for weights and films.

    Attributes:
        config: of the network, complete.
        films: seconds of each pipeline without reading weights and loading kernels.
        work: what both sides start from.
    """

    def __init__(self, name: str, parts: Sequence[str], request: VsrBenchRequest, film: Path,
                 folder: Path, console: Console):
        from restore_cli.runtime import engine
        from restore_cli.weights.files import Weights, write

        self.name, self.parts = name, tuple(parts)
        self.films: list[float] = []
        self._request, self._film, self._console = request, film, console
        self.config = shapes.complete(MODELS[name])
        self._weights = folder / f"{name}.safetensors"
        self._target = folder / f"{name}.mp4"
        self.their_target = folder / f"{name}.t.mp4"
        tensors = bench_vsr_data.tensors(self.config)
        write(self._weights, Weights("vsr", dict(MODELS[name]), tensors, {}))
        self.engine = engine.start(request.device, request.threads, console=console)
        self._loaded = vsr_network.load(self._weights, device=request.device,
                                        threads=request.threads, console=console)
        height, width = request.size
        made = bench_vsr_data.frames(self.config["n_sequence"], height, width, deep=True)
        self._window = [Held(frame) for frame in made]
        stack = np.concatenate([planes(frame.rgb) for frame in made])
        tail = self._loaded.quick().tail_weights() if "engine" in parts else {}
        self.work = Work(self.config, tensors, stack, tail)

    def _whole(self, size: tuple[int, int]) -> Stream:
        """A stream that takes frames in one piece."""
        return Stream(self._loaded, size, Plan((max(size),) * 2, self.config["n_sequence"] - 1),
                      self.config["scale"])

    def prepare(self) -> None:
        """Compiles every kernel: the first, untimed runs."""
        if "pipeline" in self.parts:
            with video.open_source(str(self._film)) as film:
                self._info, self._frames = film.info, list(film)
            self._made: list[np.ndarray] = []
        for part in self.labels():
            self.clock(part)

    def labels(self) -> list[str]:
        """All that is timed, the pipeline's parts before it."""
        return [one for part in self.parts
                for one in ((*SPLIT, part) if part == "pipeline" else (part,))]

    def amount(self, part: str) -> int:
        """Frames that one run of a part makes."""
        return len(self._frames) if part in (*SPLIT, "pipeline") else 1

    def clock(self, part: str) -> float:
        """Seconds of one run."""
        work: dict[str, Callable[[], Any]] = {
            "network": self.predict, "engine": self.predict, "pipeline": self._run,
            "decode": self._decode, "compute": self._compute, "encode": self._encode}
        begin = time.perf_counter()
        work[part]()
        return time.perf_counter() - begin

    def predict(self) -> np.ndarray:
        """The window's middle frame, (k H, k W, 3) uint16; the last frame is new to it."""
        self._window[-1] = Held(self._window[-1].frame)
        return self._whole(self._request.size).enlarge(self._window)

    def _decode(self) -> None:
        with video.open_source(str(self._film)) as film:
            for _ in film:
                pass

    def _compute(self) -> None:
        held = ((Held(frame), number == 0) for number, frame in enumerate(self._frames))
        stream = self._whole((self._info.height, self._info.width))
        self._made = [stream.enlarge(window) for window in windows.sliding(
            held, length=self.config["n_sequence"])]

    def _encode(self) -> None:
        height, width = self._made[0].shape[:2]
        target = self._target.with_suffix(".e.mp4")
        with video.Encoder(target, self._info, (width, height), overwrite=True) as encoder:
            for frame, rgb in zip(self._frames, self._made, strict=True):
                encoder.write(rgb, frame.pts, frame.duration)

    def _run(self) -> None:
        """The whole command but starting the program."""
        from restore_cli.jobs import vsr

        self._target.unlink(missing_ok=True)
        console = bench_rounds.silent(self._console)
        console.stderr, console.json_lines = io.StringIO(), True
        status = vsr.run(vsr.VsrRequest(
            inputs=[str(self._film)], output=str(self._target), weights=str(self._weights),
            scale=self.config["scale"], device=self.engine.device, threads=self.engine.threads,
            memory=self._request.memory, tile=self._request.tile, scene_threshold="off",
            precision=bench_rounds.current()), console)
        if status != ExitStatus.OK:
            raise RestoreError(f"the timed command failed: {console.stderr.getvalue().strip()}")
        record = json.loads(console.stdout.getvalue().splitlines()[-1])
        if bench_rounds.current() == self._request.precision:
            self.films.append(record["seconds"])
