"""What a network looks like from outside, told without building it (and without Jittor).

Weight files are checked against `Layout.shapes`, tiles are planned from
`Layout.receptive_radius`. Systems add their architectures to `ARCHITECTURES`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Callable, Mapping

from restore_cli.errors import WeightsError, did_you_mean
from restore_cli.nets.led import shapes as led
from restore_cli.nets.liif import shapes as liif
from restore_cli.nets.n2v import shapes as n2v
from restore_cli.nets.vsr import shapes as vsr

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Layout:
    """Facts of one configured network.

    Attributes:
        shapes: every state-dict key with its shape, in upstream's order.
        optional: keys that exist upstream but never influence the output; a converter may
            fill them in when a file lacks them.
        receptive_radius: input pixels on each side that one output pixel depends on, or None
            when it depends on the whole image (global statistics). Where `align` is above 1:
            pixels that a tile with borders on its multiples depends on beyond them.
        align: input sides must be multiples of this many pixels.
        scale: fixed integer magnification, or None when any scale can be asked for.
        buffers: keys that are not trained (batch statistics).
    """

    shapes: Shapes
    optional: frozenset[str]
    receptive_radius: int | None
    align: int
    scale: int | None
    buffers: frozenset[str] = field(default_factory=frozenset)

    @property
    def parameters(self) -> int:
        """Number of trainable values."""
        return sum(math.prod(shape) for key, shape in self.shapes.items()
                   if key not in self.optional and key not in self.buffers)


def _liif_family(name: str) -> Callable[[Mapping[str, Any]], Layout]:
    def make(config: Mapping[str, Any]) -> Layout:
        facts = liif.describe(name, config)
        unused = frozenset(k for k in facts.shapes if ".sub_mean." in f".{k}"
                           or ".add_mean." in f".{k}")
        return Layout(facts.shapes, unused, facts.radius, 1, facts.scale)

    return make


def _n2v_family(name: str) -> Callable[[Mapping[str, Any]], Layout]:
    def make(config: Mapping[str, Any]) -> Layout:
        facts = n2v.describe(name, config)
        return Layout(facts.shapes, facts.unused, facts.radius, facts.align, 1, facts.buffers)

    return make


def _led_family(name: str) -> Callable[[Mapping[str, Any]], Layout]:
    def make(config: Mapping[str, Any]) -> Layout:
        facts = led.describe(name, config)
        return Layout(facts.shapes, frozenset(), facts.radius, facts.align, 1)

    return make


def _vsr_family(describe: Callable[[Mapping[str, Any]], vsr.Facts]) \
        -> Callable[[Mapping[str, Any]], Layout]:
    def make(config: Mapping[str, Any]) -> Layout:
        facts = describe(config)
        return Layout(facts.shapes, frozenset(), None, 1, facts.scale)

    return make


ARCHITECTURES: dict[str, Callable[[Mapping[str, Any]], Layout]] = {
    **{name: _liif_family(name) for name in liif.NAMES},
    **{name: _n2v_family(name) for name in n2v.NAMES},
    **{name: _led_family(name) for name in led.NAMES},
    vsr.NAME: _vsr_family(vsr.describe),
    vsr.FLOW_NAME: _vsr_family(vsr.describe_flow),
}


def layout(name: str, config: Mapping[str, Any]) -> Layout:
    """The layout of architecture `name` configured as upstream's YAML `args`.

    Raises:
        WeightsError: unknown architecture or configuration key.
    """
    return lookup(name, ARCHITECTURES)(config)


def lookup(name: str, table: Mapping[str, Any]) -> Any:
    """`table[name]`, or a `WeightsError` that lists what there is."""
    if name not in table:
        raise WeightsError(f"unknown architecture '{name}'",
                           hint=did_you_mean(name, table) or "Known: " + ", ".join(sorted(table)))
    return table[name]
