"""NAFNet and Restormer strip by strip, with the statistics of the whole image.

Both networks multiply features by something that depends on sums over the whole image, so tiles
would change the result. Here every block passes over the image twice, a few rows at a time: once
for its sums, which are added up in double precision, once for its output. Feature maps wait in
host arrays, which may lie on disk. Nothing is computed twice but single rows between strips, and
the result differs from that of the whole image by rounding only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jittor as jt
import numpy as np

from restore_cli.errors import ShapeError
from restore_cli.nets.led import pad, shapes_restormer
from restore_cli.nets.led.layers import cropped
from restore_cli.nets.led.nafnet import NAFNet
from restore_cli.nets.led.restormer import Restormer

MakeBuffer = Callable[[tuple[int, ...], np.dtype], AbstractContextManager[np.ndarray]]


def in_memory(shape: tuple[int, ...], dtype: np.dtype) -> AbstractContextManager[np.ndarray]:
    """An array of the process's own memory, the default buffer."""
    return nullcontext(np.empty(shape, dtype))


def run(network: NAFNet | Restormer, planes: np.ndarray, *, rows: int,
        make_buffer: MakeBuffer = in_memory,
        progress: Callable[[float], None] | None = None) -> np.ndarray:
    """What `network` makes of whole images, with the memory that `strips_cost.cost` tells.

    Args:
        network: plain (or re-parameterised, slower); without gradients.
        planes: (C, h, w) or (N, C, h, w) float32, as the network takes them.
        rows: height of a strip at every level of the network, from 2; odd ones lose a row.
        make_buffer: gives a context whose value is an uninitialised array of this shape and type,
            such as one of `pipeline.buffers.array`; each context ends as soon as its map is done.
        progress: told the share done, 0 to 1, after every strip.

    Returns:
        the same shape as `planes`.

    Raises:
        ShapeError: `planes` has another number of channels or axes, or a side of 0.
        ValueError: `rows` is below 2.
    """
    channels = network.config["img_channel" if isinstance(network, NAFNet) else "inp_channels"]
    if planes.ndim not in (3, 4) or planes.shape[-3] != channels or 0 in planes.shape:
        raise ShapeError("planes", f"({channels}, h, w) or (N, {channels}, h, w)", planes.shape)
    if rows < 2:
        raise ValueError(f"strips of {rows} rows, expected at least 2")
    images = planes.reshape(-1, *planes.shape[-3:])
    out = np.empty(images.shape, np.float32)
    through = _nafnet if isinstance(network, NAFNet) else _restormer
    with jt.no_grad():
        for i, image in enumerate(images):
            def tell(share: float, done: int = i) -> None:
                if progress is not None:
                    progress((done + share) / len(images))

            through(network, image, _Work(rows // 2 * 2, make_buffer, tell), out[i])
    return out.reshape(planes.shape)


class _Map:
    """A feature map (C, H, W) in a buffer that is given back by `close`."""

    def __init__(self, make_buffer: MakeBuffer, shape: tuple[int, ...]):
        self._context = make_buffer(shape, np.dtype(np.float32))
        self.array = self._context.__enter__()
        self.shape = shape

    def close(self) -> None:
        self.array = None
        self._context.__exit__(None, None, None)


class _Work:
    """Steps of a network over one image; `weight` is the cost of all blocks together."""

    def __init__(self, rows: int, make_buffer: MakeBuffer, tell: Callable[[float], None]):
        self._rows, self._make_buffer, self._tell = rows, make_buffer, tell
        self._maps: list[_Map] = []
        self._done, self.weight = 0.0, 1.0

    def __enter__(self) -> _Work:
        return self

    def __exit__(self, *_) -> None:
        for made in self._maps:
            made.close()

    def map(self, *shape: int) -> _Map:
        """A new map, closed by `drop` or with the work."""
        made = _Map(self._make_buffer, shape)
        self._maps.append(made)
        return made

    def drop(self, made: _Map) -> None:
        """Gives back a map's buffer."""
        self._maps.remove(made)
        made.close()

    def strips(self, height: int, rows: int | None = None) -> Iterator[tuple[int, int]]:
        """First row, and the row after the last, of each strip."""
        rows = rows or self._rows
        return ((first, min(first + rows, height)) for first in range(0, height, rows))

    def layer(self, function: Callable[[jt.Var, tuple[int, int]], jt.Var], source: np.ndarray,
              reach: int, target: np.ndarray, down: int = 1, up: int = 1,
              beside: Sequence[np.ndarray] = ()) -> None:
        """Writes function(window, halo, strips of `beside`) to `target`, strip by strip.

        Args:
            reach: rows around its own that a strip needs of `source`.
            down, up: how many times less or more rows `target` has.
            beside: arrays with the rows of `target`; one of them may be `target`.
        """
        for first, last in self.strips(source.shape[1], max(down, self._rows // up)):
            window, halo = _window(source, first, last, reach)
            place = slice(first // down * up, last // down * up)
            others = [_var(other[:, place]) for other in beside]
            target[:, place] = _rows(function(_var(window), halo, *others))
            jt.gc()

    def block(self, block: Any, x: _Map, cost: float) -> None:
        """Replaces `x` by what a block makes of it."""
        channels, height, width = x.shape
        kept, sums = None, []
        for first, last in self.strips(height):
            window, halo = _window(x.array, first, last, 1)
            made, *parts = block.gather(_var(window), halo)
            rows = _rows(made)
            kept = kept or self.map(rows.shape[0], height, width)
            kept.array[:, first:last] = rows
            parts = [part.numpy().astype(np.float64) for part in parts]
            sums = [a + b for a, b in zip(sums, parts)] if sums else parts
            self._count(cost / 2 * (last - first) / height)
        totals = [jt.array(one.astype(np.float32)) for one in sums]
        above = None
        for first, last in self.strips(height):
            window, halo = _window(x.array, first, last, block.reach)
            if halo[0]:
                window[:, :1] = above  # that row has been replaced
            above = window[:, last - first + halo[0] - 1:][:, :1].copy()
            near, _ = _window(kept.array, first, last, block.reach)
            x.array[:, first:last] = _rows(block.finish(_var(window), _var(near), totals,
                                                        height * width, halo))
            self._count(cost / 2 * (last - first) / height)
        self.drop(kept)

    def _count(self, cost: float) -> None:
        jt.gc()
        self._done += cost
        self._tell(min(self._done / self.weight, 1.0))


def _window(array: np.ndarray, first: int, last: int,
            reach: int) -> tuple[np.ndarray, tuple[int, int]]:
    """A copy of rows first to last with up to `reach` around; how many lie above and below."""
    top, bottom = max(0, first - reach), min(array.shape[1], last + reach)
    return np.array(array[:, top:bottom]), (first - top, bottom - last)


def _var(rows: np.ndarray) -> jt.Var:
    return jt.array(np.ascontiguousarray(rows, np.float32)[None])


def _rows(made: jt.Var) -> np.ndarray:
    made.sync()
    return made.data[0]


def _same(layer: Any) -> Callable[..., jt.Var]:
    """A convolution of a window, without the window's halo."""
    return lambda x, halo: cropped(layer(x), halo)


def _nafnet(network: NAFNet, image: np.ndarray, work: _Work, out: np.ndarray) -> None:
    config = network.config
    levels, width = len(config["enc_blk_nums"]), config["width"]
    height, columns = image.shape[1:]
    high, wide = (side + -side % 2 ** levels for side in (height, columns))
    work.weight = max(1, sum(config["enc_blk_nums"]) + sum(config["dec_blk_nums"])
                      + config["middle_blk_num"])
    with work:
        padded, x = work.map(image.shape[0], high, wide), work.map(width, high, wide)
        padded.array[:] = 0
        padded.array[:, :height, :columns] = image
        work.layer(_same(network.intro), padded.array, 1, x.array)
        skips = []
        for blocks, down in zip(network.encoders, network.downs):
            for block in blocks:
                work.block(block, x, 1)
            skips.append(x)
            channels, tall, side = x.shape
            x = work.map(2 * channels, tall // 2, side // 2)
            work.layer(lambda y, halo, down=down: down(y), skips[-1].array, 0, x.array, down=2)
        for block in network.middle_blks:
            work.block(block, x, 1)
        for blocks, up in zip(network.decoders, network.ups):
            skip = skips.pop()
            work.layer(lambda y, halo, near, up=up: up(y) + near, x.array, 0, skip.array, up=2,
                       beside=[skip.array])
            work.drop(x)
            x = skip
            for block in blocks:
                work.block(block, x, 1)
        # A pixel's rows are read before they are written, so the result takes the input's place.
        work.layer(lambda y, halo, near: cropped(network.ending(y), halo) + near, x.array, 1,
                   padded.array, beside=[padded.array])
        out[:] = padded.array[:, :height, :columns]


def _restormer(network: Restormer, image: np.ndarray, work: _Work, out: np.ndarray) -> None:
    config = network.config
    stages = shapes_restormer.stages(config)
    height, width = image.shape[1:]
    high, wide = (pad.mirrored(side, shapes_restormer.ALIGN) for side in (height, width))
    costs = {name: 4 if name in ("decoder_level1", "refinement") else 1 for name in stages}
    work.weight = max(1, sum(costs[name] * stages[name][0] for name in stages))

    def stage(name: str, x: _Map) -> None:
        for block in getattr(network, name):
            work.block(block, x, costs[name])

    with work:
        padded = work.map(image.shape[0], len(high), len(wide))
        for place, row in enumerate(high):
            padded.array[:, place] = image[:, row, wide]
        x = work.map(config["dim"], *padded.shape[1:])
        work.layer(_same(network.patch_embed), padded.array, 1, x.array)
        skips = []
        for level in (1, 2, 3):
            stage(f"encoder_level{level}", x)
            skips.append(x)
            channels, tall, side = x.shape
            x = work.map(2 * channels, tall // 2, side // 2)
            work.layer(getattr(network, f"down{level}_{level + 1}"), skips[-1].array, 1, x.array,
                       down=2)
        stage("latent", x)
        for level in (3, 2, 1):
            skip, up = skips.pop(), getattr(network, f"up{level + 1}_{level}")
            reduce = getattr(network, f"reduce_chan_level{level}") if level > 1 else None

            def joined(y: jt.Var, halo: tuple[int, int], near: jt.Var, up=up,
                       reduce=reduce) -> jt.Var:
                both = jt.concat([up(y, halo), near], dim=1)
                return both if reduce is None else reduce(both)

            # Where the two are reduced again, the result takes the skip's place.
            made = skip if level > 1 else work.map(2 * skip.shape[0], *skip.shape[1:])
            work.layer(joined, x.array, 1, made.array, up=2, beside=[skip.array])
            for done in (x,) if level > 1 else (x, skip):
                work.drop(done)
            x = made
            stage(f"decoder_level{level}", x)
        stage("refinement", x)
        # A pixel's rows are read before they are written, so the result takes the input's place.
        work.layer(lambda y, halo, near: cropped(network.output(y), halo) + near, x.array, 1,
                   padded.array, beside=[padded.array])
        top, left = (pad.margins(side, shapes_restormer.ALIGN)[0] for side in (height, width))
        out[:] = padded.array[:, top:top + height, left:left + width]
