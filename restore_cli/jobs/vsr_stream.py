"""Runs the video network over a film frame by frame: equal to the plain network, at half its work.

What depends on one frame alone, features and pyramid, is computed once and kept with the frame
while a window needs it. The blur kernel, which the frames do not depend on, is left out, and the
linear end of the network is one convolution. The flow sees whole frames; the rest runs in tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from restore_cli.jobs import vsr_reduce
from restore_cli.jobs.vsr_network import Loaded
from restore_cli.jobs.vsr_plan import Plan
from restore_cli.media.video_model import Frame
from restore_cli.nets.vsr import shapes
from restore_cli.pipeline import memory, tiles
from restore_cli.pipeline.tiles import Tile


@dataclass(eq=False)
class Held:
    """A frame with what the network has found out about it.

    Attributes:
        frame: as decoded.
        features: (1, C, H, W) as a Jittor Var, or as an array where they were made by tiles; None
            where they are made again for each window.
        pyramid: of the flow network.
    """

    frame: Frame
    features: Any = None
    pyramid: Any = None


class Stream:
    """Enlarges the middle frames of windows.

    Args:
        loaded: the network.
        size: (height, width) of the frames.
        plan: how to divide the work.
        scale: of the results, at most the network's own.
    """

    def __init__(self, loaded: Loaded, size: tuple[int, int], plan: Plan, scale: int):
        self._network, self._size, self._plan, self._scale = loaded.network, size, plan, scale
        self._quick = loaded.quick()
        self._tiles = tiles.tiles(*size, plan.tile, shapes.halo(loaded.config))
        # A convolution in front of the blocks of two.
        self._beyond = 1 + 2 * loaded.config["extra_RBS"]
        self._pieces = tiles.tiles(*size, plan.tile, self._beyond)

    def enlarge(self, window: Sequence[Held]) -> np.ndarray:
        """The middle frame of a window, (k H, k W, 3) in the frames' own type."""
        import jittor as jt

        middle = window[self._network.centre]
        dtype = middle.frame.rgb.dtype
        own, (height, width) = self._network.scale, self._size
        reduced = self._scale != own
        out = np.empty((own * height, own * width, 3), np.float32 if reduced else dtype)
        with jt.no_grad():
            for held in window:
                self._examine(held)
            self._released()
            flows = self._flows(window)
            self._released()
            for tile in self._tiles:
                made = self._tile(window, flows, tile)
                rows, columns = (slice(own * one.start, own * one.stop) for one in tile.keep)
                out[rows, columns] = made if reduced else _stored(made, dtype)
        self._released()
        if not reduced:
            return out
        small = np.empty((self._scale * height, self._scale * width, 3), dtype)
        for rows, part in vsr_reduce.bands(out, own, self._scale):
            small[rows] = _stored(part, dtype)
        return small

    def _released(self) -> None:
        """Takes from the engine the memory that it keeps for more work of the same shapes."""
        import jittor as jt

        if self._plan.release:
            jt.gc()
            memory.trim()

    def _examine(self, held: Held) -> None:
        """Finds features and pyramid of a frame that is new."""
        import jittor as jt

        if held.pyramid is not None:
            return
        pixels = planes(held.frame.rgb)
        features: Any = None
        if self._plan.lean:
            pass
        elif len(self._pieces) == 1:
            features = self._quick.features(jt.array(pixels))
            features.sync()
        else:
            for piece in self._pieces:
                y, x = piece.read
                made = self._quick.features(jt.array(np.ascontiguousarray(pixels[:, :, y, x])))
                if features is None:
                    features = np.empty((1, made.shape[1], *self._size), np.float32)
                features[(slice(None), slice(None), *piece.keep)] = made.numpy()[
                    (slice(None), slice(None), *piece.inner)]
        pyramid = self._network.pyramid(jt.array(pixels))
        for level in pyramid.levels:
            level.sync()
        held.features, held.pyramid = features, pyramid

    def _flows(self, window: Sequence[Held]) -> dict[int, np.ndarray]:
        """Flow (1, 2, H, W) from the middle frame to each other one, by the frame's id."""
        centre = self._network.centre
        middle = window[centre].pyramid
        others = list({id(one): one for place, one in enumerate(window)
                       if place != centre}.values())
        found = {}
        for start in range(0, len(others), self._plan.pairs):
            group = others[start:start + self._plan.pairs]
            made = self._quick.between(middle, [one.pyramid for one in group]).numpy()
            found.update({id(one): made[i:i + 1] for i, one in enumerate(group)})
        return found

    def _tile(self, window: Sequence[Held], flows: dict[int, np.ndarray], tile: Tile
              ) -> np.ndarray:
        """The part of the enlarged frame that a tile decides: (k h, k w, 3), about 0 to 1."""
        import jittor as jt

        from restore_cli.nets.vsr.warp import Place

        network, (y, x) = self._network, tile.read
        moved = []
        for place, held in enumerate(window):
            if place == network.centre:
                moved.append(self._cut(held, y, x))
            else:
                flow = np.ascontiguousarray(flows[id(held)][:, :, y, x])
                rows = _reached(flow[0, 1] + np.arange(y.start, y.stop)[:, None], self._size[0])
                columns = _reached(flow[0, 0] + np.arange(x.start, x.stop), self._size[1])
                moved.append(self._quick.moved(
                    self._cut(held, rows, columns), jt.array(flow), Place(
                        self._size, (rows.start, columns.start), (y.start, x.start))))
            moved[-1].sync()  # or the parts they are made from would all be there at once
        body = self._quick.body(moved)
        body.sync()
        del moved
        ends = (y.start == 0, y.stop == self._size[0], x.start == 0, x.stop == self._size[1])
        pixels = planes(window[network.centre].frame.rgb[y, x])
        made = self._quick.picture(body, jt.array(pixels), ends).numpy()
        rows, columns = (slice(network.scale * one.start, network.scale * one.stop)
                         for one in tile.inner)
        return made[0, :, rows, columns].transpose(1, 2, 0)

    def _cut(self, held: Held, rows: slice, columns: slice) -> Any:
        """A window of a frame's features as a Var."""
        import jittor as jt

        features, wanted = held.features, (rows, columns)
        if features is None:
            read = [slice(max(one.start - self._beyond, 0), min(one.stop + self._beyond, side))
                    for one, side in zip(wanted, self._size, strict=True)]
            features = self._quick.features(jt.array(planes(held.frame.rgb[tuple(read)])))
            wanted = tuple(slice(one.start - more.start, one.stop - more.start)
                           for one, more in zip(wanted, read, strict=True))
        if isinstance(features, np.ndarray):
            return jt.array(np.ascontiguousarray(features[(slice(None), slice(None), *wanted)]))
        if all((one.start, one.stop) == (0, side) for one, side in zip(
                wanted, features.shape[2:], strict=True)):
            return features
        return features[:, :, wanted[0], wanted[1]]


def planes(rgb: np.ndarray) -> np.ndarray:
    """A frame (H, W, 3) as the network takes it: (1, 3, H, W) float32, 0 to 1."""
    share = np.float32(1 / np.iinfo(rgb.dtype).max)
    return np.ascontiguousarray(rgb.transpose(2, 0, 1)[None], np.float32) * share


def _stored(made: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Clipped, and rounded half to even as the published program does."""
    white = np.iinfo(dtype).max
    return np.rint(np.clip(made * np.float32(white), 0, white)).astype(dtype)


def _reached(places: np.ndarray, length: int) -> slice:
    """The pixels of an axis that samples at `places` read; those outside read the nearest."""
    low, high = (int(min(max(np.floor(one), 0), length - 1)) for one in (
        places.min(), places.max()))
    return slice(max(low - 1, 0), min(high + 3, length))
