"""EDSR, RDN and RCAN's groups without gradients, each as one CPU operator.

All maps stay in one blocked layout from the first layer to the last, as in `nets.ops.chain`; dense
blocks read lists of maps where the network concatenates. Weights are transformed at every call,
layer by layer, so that they may change and none are kept beside the network's own.
"""

from __future__ import annotations

from collections.abc import Sequence

import jittor as jt

from restore_cli.nets.ops import chain, precision
from restore_cli.nets.ops.library import Library

_LIBRARY = Library("blocked.cc", "forms.cc", "products.cc", "winograd.cc", "chain.cc", "trunks.cc")
_MOST_LAYERS = 499  # an operator of Jittor takes up to 999 arrays


def usable(layers: Sequence[jt.nn.Conv]) -> bool:
    """Whether the operators can run now with these layers.

    ``RESTORE_FUSED=0`` and ``RESTORE_WINOGRAD=0`` say no.
    """
    shapes = [layer.weight.shape for layer in layers]
    return (chain.usable() and len(layers) <= _MOST_LAYERS
            and all(shape[2] == 1 or (shape[2] == 3 and shape[0] % chain.GROUP == 0)
                    for shape in shapes))


def residual(x: jt.Var, layers: Sequence[jt.nn.Conv], blocks: int, bare: bool = False,
             attention: bool = False, factor: float = 1.0) -> jt.Var:
    """EDSR's features, or one of RCAN's groups.

    Args:
        x: (N, channels, H, W).
        layers: in the order in which they run: the first, unless `bare`; two for each block,
            with `attention` also the two of its gate; the last.
        blocks: how many.
        bare: there is no first layer.
        factor: on what a block adds, without attention.

    Returns:
        (N, features, H, W).
    """
    return _run("residual_trunk", x, layers, blocks=blocks, bare=bare, attention=attention,
                factor=factor)


def dense(x: jt.Var, layers: Sequence[jt.nn.Conv], blocks: int, depth: int) -> jt.Var:
    """RDN's features.

    Args:
        x: (N, channels, H, W).
        layers: in the order in which they run: two; `depth` and the fusion for each block; the
            two that join the blocks.
        blocks: how many.
        depth: layers of each.

    Returns:
        (N, features, H, W).
    """
    return _run("dense_trunk", x, layers, blocks=blocks, depth=depth)


def _run(name: str, x: jt.Var, layers: Sequence[jt.nn.Conv], **data: float) -> jt.Var:
    parameters = [part for layer in layers for part in (layer.weight, layer.bias)]
    shape = (x.shape[0], layers[0].weight.shape[0], *x.shape[2:])
    return _LIBRARY.run(name, [shape], [x, *parameters], half=precision.half(), **data)[0]
