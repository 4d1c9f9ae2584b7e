"""What `restore denoise-raw` does to amplified planes, for scoring: no files, nothing rounded."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from restore_cli import units
from restore_cli.console import Console
from restore_cli.errors import OutOfMemory, UsageError
from restore_cli.evaluation.raw_denoising import COMPARING, Case, RawResult
from restore_cli.jobs import (
    denoise_raw_network,
    denoise_raw_plan,
    denoise_raw_ratio,
    denoise_raw_tiles,
    denoise_raw_whole,
)
from restore_cli.jobs.denoise_raw_image import Index
from restore_cli.jobs.denoise_raw_whole import Strips
from restore_cli.pipeline import memory


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
        self._whole = self._loaded.layout.receptive_radius is None
        if self._whole and tile is not None:
            raise UsageError(f"{self.name} looks at the whole picture and cannot be tiled",
                             hint="Leave --tile out")
        self._model = denoise_raw_plan.cost(self._loaded.arch, self._loaded.config,
                                            self._loaded.layout, self._loaded.fused)
        # Kernels are compiled and loaded before what is held without any picture is measured.
        self._run(np.zeros((4, 32, 32), np.float32), 1.0,
                  Strips(8, 1 << 30) if self._whole else (16, 16))
        memory.release()
        self._budget = memory.budget(memory_limit)

    def require_room(self, case: Case) -> None:
        """Refuses files that do not fit the memory, before they are read.

        Raises:
            OutOfMemory: they do not.
        """
        sides = denoise_raw_plan.sides(case.noisy) if case.noisy else None
        if sides is not None:
            self._left((sides[0] // 2, sides[1] // 2))

    def __call__(self, planes: np.ndarray, ratio: float) -> np.ndarray:
        """Denoises (4, h, w) amplified planes; nothing is clipped at the end.

        Raises:
            OutOfMemory: it does not fit the memory.
            OutputError: maps that have to wait on disk do not fit there.
        """
        memory.trim()  # after the comparison of the noisy picture
        how = self._fit(planes.shape[1:])
        sides = (how.rows,) if isinstance(how, Strips) else how

        def attempt(side: int) -> np.ndarray:
            return self._run(planes, ratio, Strips(side, how.held) if isinstance(how, Strips)
                             else tuple(min(side, one) for one in how))

        kind = "strips" if self._whole else "tiles"
        made = memory.halving(
            attempt, max(sides), fixed=self._tile is not None,
            smallest=denoise_raw_whole.SMALLEST_STRIP if self._whole
            else denoise_raw_plan.SMALLEST_TILE, on_retry=lambda half: self._console.warn(
                f"memory ran out; again with {kind} of {2 * half} pixels"))
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

    def _left(self, shape: tuple[int, int]) -> int:
        """Bytes for the network beside a picture of (h, w) packed pixels.

        The engine keeps what the network took, so there must be room for the comparison, too.
        """
        need = COMPARING[0] * shape[0] * shape[1] + COMPARING[1]
        if need > self._budget.room:
            raise OutOfMemory(f"needs {units.show(need)} to be compared, and "
                              f"{units.show(self._budget.room)} are left",
                              hint="Give more with --memory")
        return self._budget.room - need

    def _fit(self, shape: tuple[int, int]) -> tuple[int, int] | Strips:
        """The tile, or the strips, that fit beside the planes."""
        room = self._left(shape)
        if self._whole:
            return denoise_raw_whole.choose(self._loaded, shape, room)
        asked = None if self._tile is None else self._tile // 2
        return denoise_raw_plan.choose(self._model, self._loaded.layout, shape, room, asked)

    def _run(self, planes: np.ndarray, ratio: float, how: tuple[int, int] | Strips) -> np.ndarray:
        picture = _Planes(planes, ratio)
        if isinstance(how, Strips):
            with tempfile.TemporaryDirectory(prefix="restore-raw-") as folder:
                denoise_raw_whole.run(self._loaded, picture, picture, how, Path(folder))
        else:
            denoise_raw_tiles.run(self._loaded, picture, picture, how)
        return picture.made


class _Planes:
    """Amplified planes as the job's runners read them, and the result as they write it."""

    def __init__(self, planes: np.ndarray, ratio: float):
        self._planes, self.ratio = planes, ratio
        self.shape = planes.shape[1:]
        self.made = np.empty(planes.shape, np.float32)

    def network(self, rows: Index, columns: Index) -> np.ndarray:
        return self._planes[:, rows][:, :, columns]

    def put(self, rows: slice, columns: slice, clean: np.ndarray) -> None:
        self.made[:, rows, columns] = clean
