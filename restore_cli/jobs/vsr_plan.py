"""What enlarging a film takes in memory, and the tiles that fit. No pixels here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from restore_cli import units
from restore_cli.errors import OutOfMemory
from restore_cli.nets.layout import Layout
from restore_cli.nets.vsr import shapes
from restore_cli.pipeline import memory

SMALLEST_TILE, LARGEST_TILE = 16, 2048
"""Pixels of the film."""

_SHOWN = 11  # decoded frames between the reader and the network: read ahead, looked at, in windows
_MADE, _MADE_LEAN = 5, 2  # enlarged frames from the network to the encoder
_FIXED = 40e6  # whatever the size
_BANDS = 32e6  # of an enlarged frame, while it is reduced to another scale
# Floats a value of the widest maps of each step, measured peaks rounded up.
_DENSE, _EXTRACTED = 7.5, 4.0
_FUSED = 1.2
_TRUNK, _PLAIN_TRUNK = 4.0, 6.0


@dataclass(frozen=True)
class Plan:
    """How the work on a frame is divided.

    Attributes:
        tile: (rows, columns) that an interior window decides.
        pairs: how many pairs of frames go through the flow network at once.
        release: what one step has taken is handed back before the next; else the engine keeps
            it, and the frames after it are quicker.
        lean: features are not kept with their frames but made again for each window, an enlarged
            frame is written before the next one is begun, and so is a segment.
    """

    tile: tuple[int, int]
    pairs: int
    release: bool = False
    lean: bool = False


@dataclass(frozen=True)
class Cost:
    """Bytes that frames of one size take.

    Attributes:
        held: while the film runs: decoded and enlarged frames, features, pyramids.
        held_lean: the same by a lean plan.
        pair: for each pair in the flow network.
        whole: for one frame in the flow network's extractor.
        fused: the residual blocks are one CPU operator.
    """

    config: Mapping[str, Any]
    size: tuple[int, int]
    held: int
    held_lean: int
    pair: int
    whole: int
    fused: bool

    def tile(self, tile: int, lean: bool = False) -> int:
        """Bytes for a tile of this side."""
        height, width = (min(side, tile + 2 * shapes.halo(self.config)) for side in self.size)
        feat, scale, length = (self.config[key] for key in ("n_feat", "scale", "n_sequence"))
        # The maps of the window's frames, then the blocks' own; where features are cut out for
        # warping, as far as a flow of a tile's side.
        maps = length + 1 + (_TRUNK if self.fused else _PLAIN_TRUNK)
        reach = min(4 * height * width, self.size[0] * self.size[1])
        total = 4 * feat * (maps * height * width + reach)
        if lean:  # features of what a window reaches, in place of the blocks' maps
            beyond = min(reach + 4 * self._beyond * (height + width + 2 * self._beyond),
                         self.size[0] * self.size[1])
            trunk = _TRUNK if self.fused else _PLAIN_TRUNK
            total += 4 * feat * int(max(0.0, trunk * beyond - trunk * height * width))
        total += 4 * 3 * 4 * scale**2 * height * width  # the enlarged tile, added to and copied
        # Strips along the borders, by the layers that are composed elsewhere.
        strip = max(8 * 4 * feat, (2 * scale + 4) * scale * 2 * feat)
        return int(total + 4 * 2 * strip * (height + width))

    @property
    def _beyond(self) -> int:
        """Pixels on each side that features depend on."""
        return 1 + 2 * self.config["extra_RBS"]

    def examine(self, tile: int, lean: bool = False) -> int:
        """Bytes for finding out about a new frame, its features by tiles of this side."""
        if lean:
            return self.whole
        height, width = (min(side, tile + 2 * self._beyond) for side in self.size)
        maps = _TRUNK if self.fused else _PLAIN_TRUNK
        return self.whole + int(4 * self.config["n_feat"] * maps * height * width)

    def step(self, tile: int, lean: bool = False) -> int:
        """Bytes for the larger of the steps that work by tiles."""
        return max(self.examine(tile, lean), self.tile(tile, lean))

    def need(self, tile: int, pairs: int, release: bool = False, lean: bool = False) -> int:
        """Bytes of everything."""
        steps = self.examine(tile, lean), pairs * self.pair, self.tile(tile, lean)
        return (self.held_lean if lean else self.held) + (max(steps) if release else sum(steps))

    def work(self, tile: int, lean: bool = False) -> float:
        """How long a frame takes by tiles of this side, in 3x3 convolutions of each pixel."""
        halo = shapes.halo(self.config)
        features = 1 + 2 * self.config["extra_RBS"]
        body = self.config["n_sequence"] + 2 * self.config["recons_RBS"]
        made = ((tile + 2 * halo) / tile) ** 2 * body
        if not lean:
            return made + ((tile + 2 * self._beyond) / tile) ** 2 * features
        side = (tile + 2 * halo + 2 * self._beyond) / tile
        return made + self.config["n_sequence"] * side**2 * features


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
    lean = held - config["n_sequence"] * 4 * config["n_feat"] * pixels
    lean -= 3 * itemsize * pixels * (_MADE - _MADE_LEAN) * scale**2
    pair = _dense(config, fused) * aligned / 4 ** (shapes.FIRST + 1) + 4 * 8 * pixels
    whole = 4 * (12 * aligned + _EXTRACTED * channels[0] * aligned / 4)
    return Cost(config, size, int(held), int(lean), int(pair), int(whole), fused)


def _dense(config: Mapping[str, Any], fused: bool) -> float:
    """Bytes a pixel of the finest level with a decoder, for one pair of frames."""
    if not fused:
        return 4 * _DENSE * (shapes.decoder_features(config, shapes.FIRST) + shapes.SHIFTS)
    # The operator's maps, in blocks of 16 channels: what the dense block reads and makes, its
    # flow, and layers of the refiner.
    widths = [shapes.SHIFTS + 4, config["flow_channels"][shapes.FIRST], *config["flow_dense"], 10,
              *[max(config["flow_refine"])] * 3]
    return 4 * _FUSED * sum(-(-width // 16) * 16 for width in widths)


def choose(model: Cost, room: int, asked: int | None = None, before: Plan | None = None,
           beside: tuple[int, int] = (0, 0)) -> Plan:
    """The plan to use within `room` bytes.

    Args:
        asked: the side the user set, which is not changed.
        before: the plan of the run that is continued, kept where it fits.
        beside: bytes of what takes the enlarged frames, such as the encoder's process; the
            second number counts with a lean plan.

    Raises:
        OutOfMemory: nothing fits.
    """
    rooms = [room - one for one in beside]
    if before is not None:
        need = (max(before.tile), before.pairs)
        for release in False, True:
            if model.need(*need, release, before.lean) <= rooms[before.lean]:
                return replace(before, release=release)
    pairs = model.config["n_sequence"] - 1
    largest = max(SMALLEST_TILE, min(LARGEST_TILE, max(model.size)))
    if asked is None and model.need(largest, pairs) <= rooms[0]:
        return _even_plan(model, largest, pairs, False)
    found = [one for one in (_fitting(model, rooms[lean], asked, lean) for lean in (False, True))
             if one is not None]
    if not found:
        _refuse(model, room, asked, beside[1])
    return min(found, key=lambda one: model.work(max(one.tile), one.lean))


def _fitting(model: Cost, room: int, asked: int | None, lean: bool) -> Plan | None:
    """The best plan of a kind, None where nothing of it fits."""
    left = room - (model.held_lean if lean else model.held)
    least = SMALLEST_TILE if asked is None else asked
    if max(model.step(least, lean), model.pair) > left:
        return None
    pairs = int(min(model.config["n_sequence"] - 1, left // model.pair))
    if asked is not None:
        return Plan((asked, asked), pairs, model.need(asked, pairs, False, lean) > room, lean)
    largest = max(SMALLEST_TILE, min(LARGEST_TILE, max(model.size)))
    side = memory.choose_tile(lambda tile: model.step(tile, lean), left, smallest=SMALLEST_TILE,
                              step=8, largest=largest)
    return _even_plan(model, side, pairs, True, lean)


def _refuse(model: Cost, room: int, asked: int | None, beside: int) -> NoReturn:
    """Says what the leanest plan would take."""
    left = room - beside - model.held_lean
    least = max(model.step(SMALLEST_TILE, True), model.pair)
    if least <= left:
        assert asked is not None
        memory.check_tile(asked, lambda tile: model.step(tile, True), left)
    height, width = model.size
    encoder = f", the encoder {units.show(beside)}" if beside else ""
    raise OutOfMemory(
        f"frames of {width}x{height} need {units.show(model.held_lean + least)} whatever the tile"
        f"{encoder}, and {units.show(room)} are left", short=least - left,
        hint="Give more with --memory" + (
            ", or choose a smaller --scale, or pictures: -o out/%05d.png" if beside > left else ""))


def _even_plan(model: Cost, side: int, pairs: int, release: bool, lean: bool = False) -> Plan:
    halo = shapes.halo(model.config)
    rows, columns = (_even(length, side, halo) for length in model.size)
    return Plan((rows, columns), pairs, release, lean)


def _even(length: int, tile: int, halo: int) -> int:
    """The smallest tile that takes as many windows along an axis as `tile` does."""
    inner = length - 2 * halo
    return tile if inner <= tile else -(-inner // -(-inner // tile))
