"""Encoders of the LIIF family (EDSR, RCAN, RDN) without gradients, each as one CPU operator.

All maps stay in one blocked layout from the image to the features, as in `nets.ops.chain`; dense
blocks read lists of maps where the network concatenates. Weights are transformed at every call,
layer by layer, so that they may change and none are kept beside the network's own.
"""

from __future__ import annotations

from collections.abc import Sequence

import jittor as jt

from restore_cli.nets.ops import chain

_SOURCES = ("trunks.cc",)
_READ = """
  std::vector<restore_trunks::Given> layers;
  for (size_t i = 1; i < _inputs.size(); i += 2)
    layers.push_back({_inputs[i]->ptr<float>(), _inputs[i + 1]->ptr<float>(),
                      _inputs[i]->shape[0], _inputs[i]->shape[1]});
  const restore_trunks::Images images{in0_p, in0_shape0, in0_shape1, in0_shape2, in0_shape3,
                                      out0_shape1};
"""
_RESIDUAL = _READ + """
  restore_trunks::residual(images, layers, (int64_t)data["groups"], (int64_t)data["blocks"],
                           data["attention"] != 0, (float)data["factor"], out0_p);
"""
_DENSE = _READ + """
  restore_trunks::dense(images, layers, (int64_t)data["blocks"], (int64_t)data["depth"], out0_p);
"""


def usable(*widths: int) -> bool:
    """Whether the operators can run now, for maps of so many channels.

    ``RESTORE_FUSED=0`` and ``RESTORE_WINOGRAD=0`` say no.
    """
    return chain.usable() and not any(width % chain.GROUP for width in widths)


def residual(x: jt.Var, layers: Sequence[jt.nn.Conv], groups: int, blocks: int,
             attention: bool = False, factor: float = 1.0) -> jt.Var:
    """EDSR's and RCAN's features.

    Args:
        x: (N, channels, H, W).
        layers: in the order in which they run: the first; two for each block, with `attention`
            also the two of its gate, and one behind each group; the last.
        groups: 1 without attention.
        blocks: in each group.
        factor: on what a block adds.

    Returns:
        (N, features, H, W).
    """
    return _run(_RESIDUAL, x, layers, groups=groups, blocks=blocks, attention=int(attention),
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
    return _run(_DENSE, x, layers, blocks=blocks, depth=depth)


def _run(source: str, x: jt.Var, layers: Sequence[jt.nn.Conv], **data: float) -> jt.Var:
    parameters = [part for layer in layers for part in (layer.weight, layer.bias)]
    shape = (x.shape[0], layers[0].weight.shape[0], *x.shape[2:])
    return chain.code(shape, source, [x, *parameters], _SOURCES, **data)
