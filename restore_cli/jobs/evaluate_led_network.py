"""What `restore denoise-raw` does to amplified planes, for scoring: no files, nothing rounded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from restore_cli.console import Console
from restore_cli.errors import UsageError
from restore_cli.evaluation.raw_denoising import COMPARING, RawResult
from restore_cli.jobs import (
    denoise_raw_network,
    denoise_raw_plan,
    denoise_raw_ratio,
    denoise_raw_tiles,
)
from restore_cli.jobs.denoise_raw_image import Index
from restore_cli.pipeline import memory

_HELD = 3 * 4 * 4
"""Bytes a packed pixel: noisy, truth and result as float32 of four planes."""


class Restorer:
    """A `Denoiser` of `evaluation.raw_denoising` that runs one network as the command does.

    Args:
        model, weights: a name or a file; neither: the default.
        tile: side of tiles in sensor pixels, None to choose it from the memory.

    Attributes:
        name: for tables.

    Raises:
        UsageError: a tile for a network that cannot be tiled.
        WeightsError: unknown, damaged or of another kind.
        DeviceError: the engine cannot start.
    """

    def __init__(self, model: str | None, weights: str | None, console: Console, *,
                 device: str = "auto", threads: int | None = None, memory_limit: str | None = None,
                 tile: int | None = None):
        path = denoise_raw_network.find(model, weights, console)
        self._loaded = denoise_raw_network.load(path, device=device, threads=threads,
                                                console=console)
        self.name, self._tile, self._console = self._loaded.name, tile, console
        if self._loaded.layout.receptive_radius is None and tile is not None:
            raise UsageError(f"{self.name} looks at the whole picture and cannot be tiled",
                             hint="Leave --tile out")
        self._model = denoise_raw_plan.cost(self._loaded.arch, self._loaded.config,
                                            self._loaded.layout, self._loaded.fused)
        # Kernels are compiled and loaded before what is held without any picture is measured.
        self._run(np.zeros((4, 32, 32), np.float32), 1.0, (16, 16))
        memory.release()
        self._budget = memory.budget(memory_limit)

    def __call__(self, planes: np.ndarray, ratio: float) -> np.ndarray:
        """Denoises (4, h, w) amplified planes; nothing is clipped at the end.

        Raises:
            OutOfMemory: no tile fits.
        """
        shape = planes.shape[1:]
        room = self._budget.room - (_HELD + 4 * COMPARING) * shape[0] * shape[1]
        asked = None if self._tile is None else self._tile // 2
        tile = denoise_raw_plan.choose(self._model, self._loaded.layout, shape, max(0, room), asked)

        def attempt(side: int) -> np.ndarray:
            return self._run(planes, ratio, tuple(min(side, one) for one in tile))

        made = memory.halving(
            attempt, max(tile), smallest=denoise_raw_plan.SMALLEST_TILE,
            fixed=self._tile is not None, on_retry=lambda half: self._console.warn(
                f"memory ran out; again with tiles of {2 * half} pixels"))
        memory.release()
        return made

    def notes(self, results: Sequence[RawResult]) -> list[str]:
        """What readers of the scores must know about the weights."""
        knowledge = self._loaded.knowledge
        found = [f"weights {self.name}: {knowledge}"]
        ratios = [result.ratio for result in results]
        span = knowledge.ratios
        if min(ratios) < span.low * 0.999 or max(ratios) > span.high * 1.001:
            found.append(f"ratios of {denoise_raw_ratio.show(min(ratios))} to "
                         f"{denoise_raw_ratio.show(max(ratios))} were asked for: the weights "
                         f"were trained for {span}")
        unknown = sorted({result.camera for result in results
                          if result.case.noisy and not knowledge.knows("", result.camera)})
        if unknown:
            found.append("the weights do not know the " + ", ".join(
                name or "camera" for name in unknown))
        return found

    def _run(self, planes: np.ndarray, ratio: float, tile: tuple[int, int]) -> np.ndarray:
        picture = _Planes(planes, ratio)
        denoise_raw_tiles.run(self._loaded, picture, picture, tile)
        return picture.made


class _Planes:
    """Amplified planes as the tile runner reads them, and the result as it writes it."""

    def __init__(self, planes: np.ndarray, ratio: float):
        self._planes, self.ratio = planes, ratio
        self.shape = planes.shape[1:]
        self.made = np.empty(planes.shape, np.float32)

    def network(self, rows: Index, columns: Index) -> np.ndarray:
        return self._planes[:, rows][:, :, columns]

    def put(self, rows: slice, columns: slice, clean: np.ndarray) -> None:
        self.made[:, rows, columns] = clean
