"""Builds a network by name. Jittor must have been started by `runtime.engine.start`."""

from __future__ import annotations

import importlib
from typing import Any, Mapping

from restore_cli.nets.layout import Layout, layout, lookup

# Where each architecture's `build(name, config)` lives; imported only when asked for.
BUILDERS = {
    **dict.fromkeys(("liif", "metasr"), "restore_cli.nets.liif.model"),
    **dict.fromkeys(("edsr-baseline", "edsr", "rdn", "rcan", "mlp"),
                    "restore_cli.nets.liif.encoders"),
    "n2v-unet": "restore_cli.nets.n2v.unet",
    **dict.fromkeys(("rednet10", "rednet20", "rednet30"), "restore_cli.nets.n2v.rednet"),
    "n2v-field": "restore_cli.nets.n2v.field",
    **{f"led-{name}": f"restore_cli.nets.led.{name}"
       for name in ("unet", "cunet", "nafnet", "restormer")},
    "vsr": "restore_cli.nets.vsr.model",
    "vsr-flow": "restore_cli.nets.vsr.pwc",
}

__all__ = ["BUILDERS", "Layout", "build", "layout", "names"]


def names() -> tuple[str, ...]:
    """Names of all architectures."""
    return tuple(BUILDERS)


def build(name: str, config: Mapping[str, Any]):
    """Builds architecture `name` with fresh random weights, in evaluation mode.

    Args:
        name: one of `names()`.
        config: upstream's `args` for it; keys left out take upstream's defaults.

    Raises:
        WeightsError: unknown name or configuration key.
    """
    module = importlib.import_module(lookup(name, BUILDERS))
    network = module.build(name, config)
    network.eval()
    return network
