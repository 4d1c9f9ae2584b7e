"""What enlarging a film takes in memory, and the tiles that fit. No pixels here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from restore_cli import units
from restore_cli.errors import OutOfMemory
from restore_cli.nets.layout import Layout
from restore_cli.nets.vsr import shapes
from restore_cli.pipeline import memory

SMALLEST_TILE, LARGEST_TILE = 16, 2048
"""Pixels of the film."""

_SHOWN = 11  # decoded frames between the reader and the network: read ahead, looked at, in windows
_MADE = 5  # enlarged frames from the network to the encoder
_FIXED = 40e6  # whatever the size
_BANDS = 32e6  # of an enlarged frame, while it is reduced to another scale
# Floats a value of the widest maps of each step, measured peaks rounded up.
_DENSE, _EXTRACTED = 7.5, 4.0
_FUSED_DENSE = 3.5
_TRUNK, _PLAIN_TRUNK = 4.0, 6.0


@dataclass(frozen=True)
class Plan:
    """How the work on a frame is divided.

    Attributes:
        tile: (rows, columns) that an interior window decides.
        pairs: how many pairs of frames go through the flow network at once.
        release: what one step has taken is handed back before the next; else the engine keeps
            it, and the frames after it are quicker.
    """

    tile: tuple[int, int]
    pairs: int
    release: bool = False


@dataclass(frozen=True)
class Cost:
    """Bytes that frames of one size take.

    Attributes:
        held: while the film runs: decoded and enlarged frames, features, pyramids.
        pair: for each pair in the flow network.
        whole: for one frame in the flow network's extractor.
        fused: the residual blocks are one CPU operator.
    """

    config: Mapping[str, Any]
    size: tuple[int, int]
    held: int
    pair: int
    whole: int
    fused: bool

    def tile(self, tile: int) -> int:
        """Bytes for a tile of this side."""
        height, width = (min(side, tile + 2 * shapes.halo(self.config)) for side in self.size)
        feat, scale, length = (self.config[key] for key in ("n_feat", "scale", "n_sequence"))
        # The maps of the window's frames, then the blocks' own; where features are cut out for
        # warping, as far as a flow of a tile's side.
        maps = length + 1 + (_TRUNK if self.fused else _PLAIN_TRUNK)
        reach = min(4 * height * width, self.size[0] * self.size[1])
        total = 4 * feat * (maps * height * width + reach)
        total += 4 * 3 * 4 * scale**2 * height * width  # the enlarged tile, added to and copied
        # Strips along the borders, by the layers that are composed elsewhere.
        strip = max(8 * 4 * feat, (2 * scale + 4) * scale * 2 * feat)
        return int(total + 4 * 2 * strip * (height + width))

    def examine(self, tile: int) -> int:
        """Bytes for finding out about a new frame, its features by tiles of this side."""
        beyond = 1 + 2 * self.config["extra_RBS"]
        height, width = (min(side, tile + 2 * beyond) for side in self.size)
        maps = _TRUNK if self.fused else _PLAIN_TRUNK
        return self.whole + int(4 * self.config["n_feat"] * maps * height * width)

    def need(self, tile: int, pairs: int, release: bool = False) -> int:
        """Bytes of everything."""
        steps = self.examine(tile), pairs * self.pair, self.tile(tile)
        return self.held + (max(steps) if release else sum(steps))


def cost(layout: Layout, config: Mapping[str, Any], size: tuple[int, int], itemsize: int,
         scale: int, fused: bool) -> Cost:
    """The cost model of the network on frames of one size.

    The factors bound measured peaks of resident memory from above;
    `tests/cli/test_vsr_memory.py` repeats the measurement.

    Args:
        size: (height, width) of the frames.
        itemsize: bytes of a sample.
        scale: of the results.
        fused: residual blocks and the flow network's decoders are CPU operators.
    """
    pixels = size[0] * size[1]
    aligned = 1
    for side in size:
        aligned *= -(-side // shapes.ALIGN) * shapes.ALIGN
    channels = config["flow_channels"]
    levels = sum(width / 4 ** (place + 1) for place, width in enumerate(channels)
                 if place >= shapes.FIRST)
    own = config["scale"]
    held = _FIXED + 2.0 * 4 * layout.parameters
    held += config["n_sequence"] * 4 * (config["n_feat"] * pixels + levels * aligned)
    held += 4 * 2 * config["n_sequence"] * pixels  # flows and a copy
    held += 3 * itemsize * pixels * (_SHOWN + _MADE * scale**2)
    if scale != own:
        held += 3 * 4 * pixels * own**2 + _BANDS
    dense = shapes.decoder_features(config, shapes.FIRST) + shapes.SHIFTS
    factor = _FUSED_DENSE if fused else _DENSE
    pair = 4 * factor * dense * aligned / 4 ** (shapes.FIRST + 1) + 4 * 8 * pixels
    whole = 4 * (12 * aligned + _EXTRACTED * channels[0] * aligned / 4)
    return Cost(config, size, int(held), int(pair), int(whole), fused)


def choose(model: Cost, room: int, asked: int | None = None,
           before: Plan | None = None, beside: int = 0) -> Plan:
    """The plan to use within `room` bytes.

    Args:
        asked: the side the user set, which is not changed.
        before: the plan of the run that is continued, kept where it fits.
        beside: bytes of what takes the enlarged frames, such as the encoder's process.

    Raises:
        OutOfMemory: nothing fits.
    """
    had, room = room, room - beside
    if before is not None and model.need(max(before.tile), before.pairs, True) <= room:
        fits = model.need(max(before.tile), before.pairs) <= room
        return replace(before, release=not fits)
    pairs = model.config["n_sequence"] - 1
    largest = max(SMALLEST_TILE, min(LARGEST_TILE, max(model.size)))
    if asked is None and model.need(largest, pairs) <= room:
        return _even_plan(model, largest, pairs, False)
    left = room - model.held
    least = max(model.examine(SMALLEST_TILE), model.pair, model.tile(SMALLEST_TILE))
    if least > left:
        height, width = model.size
        raise OutOfMemory(
            f"frames of {width}x{height} need {units.show(model.held + least)} whatever the tile"
            f"{_encoder(beside)}, and {units.show(had)} are left", short=least - left,
            hint="Give more with --memory" + (
                ", or choose a smaller --scale, or pictures as output" if beside > left else ""))
    pairs = int(min(pairs, left // model.pair))

    def takes(tile: int) -> int:
        return max(model.examine(tile), model.tile(tile))

    if asked is not None:
        memory.check_tile(asked, takes, left)
        return Plan((asked, asked), pairs, model.need(asked, pairs) > room)
    side = memory.choose_tile(takes, left, smallest=SMALLEST_TILE, step=8, largest=largest)
    return _even_plan(model, side, pairs, True)


def _encoder(beside: int) -> str:
    return f", the encoder {units.show(beside)}" if beside else ""


def _even_plan(model: Cost, side: int, pairs: int, release: bool) -> Plan:
    halo = shapes.halo(model.config)
    rows, columns = (_even(length, side, halo) for length in model.size)
    return Plan((rows, columns), pairs, release)


def _even(length: int, tile: int, halo: int) -> int:
    """The smallest tile that takes as many windows along an axis as `tile` does."""
    inner = length - 2 * halo
    return tile if inner <= tile else -(-inner // -(-inner // tile))
