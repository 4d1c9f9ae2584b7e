"""NAFNet's and Restormer's blocks as CPU operators, two a block, for inference.

The stock way writes a dozen maps a block to memory, many of them from single-threaded kernels,
and batched products over pixels bypass the fast matrix product. Here a block's first operator
(`naf_gather`, `restormer_gather`) normalises, multiplies and convolves row by row in the cache,
and ends with the map that the second operator needs and the sums over the image that the block's
attention depends on. The second (`naf_finish`, `restormer_finish`) writes the block's output. Both
take a window of an image's rows as well, so that sums can be gathered over strips.

Nothing but a compiler is needed. Results differ from those of the stock layers by about 1e-6 of
their scale, and are the same to the last bit for the same inputs, processor and number of threads.
There are no gradients.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import jittor as jt

from restore_cli.nets.ops import native
from restore_cli.nets.ops.library import Library

LIBRARY = Library("blocked.cc", "led_layers.cc", "led_blocks.cc", "led_gradients.cc",
                  "naf_train.cc", "led_operators.cc")

Named = Mapping[str, jt.Var | None]


def usable() -> bool:
    """Whether the operators can run now: nothing to train, a CPU, not ``RESTORE_FUSED=0``."""
    return native.fits() and os.environ.get("RESTORE_FUSED") != "0"


def naf_gather(x: jt.Var, weights: Named, eps: float,
               halo: tuple[int, int] = (0, 0)) -> tuple[jt.Var, jt.Var]:
    """The gated depthwise part of a NAFNet block.

    Args:
        x: (N, C, rows, W), an image or a window of its rows.
        weights: "norm", "conv" and "depthwise", each with ".weight" and ".bias".
        eps: of the normalisation.
        halo: how many rows at the top and bottom (0 or 1) only surround the window. Without one,
            the image ends there.

    Returns:
        the part, (N, C', rows without halo, W), and its sum over the pixels, (N, C').
    """
    half = weights["conv.weight"].shape[0] // 2
    shapes = [_map(x, half, halo), (x.shape[0], half)]
    return tuple(_run("naf_gather", shapes, x, weights, halo, eps=eps))


def naf_finish(x: jt.Var, gated: jt.Var, total: jt.Var, pixels: int, weights: Named,
               eps: float) -> jt.Var:
    """The output of a NAFNet block, of all pixels or some rows.

    Args:
        x, gated: block input and gated part, (N, C, rows, W) and (N, C', rows, W).
        total: (N, C'), sums of the gated part over all `pixels` of the image.
        weights: "sca", "conv3", "norm", "conv4", "conv5", each with ".weight" and ".bias"; "beta"
            and "gamma".
    """
    named = {**weights, "gated": gated, "total": total}
    return _run("naf_finish", [tuple(x.shape)], x, named, (0, 0), eps=eps, pixels=pixels)[0]


def restormer_gather(x: jt.Var, weights: Named, heads: int, eps: float,
                     halo: tuple[int, int] = (0, 0)) -> tuple[jt.Var, jt.Var, jt.Var]:
    """The values of a Restormer block's attention and the sums that queries and keys enter by.

    Args:
        x: (N, C, rows, W), an image or a window of its rows.
        weights: "norm", "conv" and "depthwise", each with ".weight" and ".bias"; a bias may be
            None (of the norm: the mean is left in).
        halo: see `naf_gather`.

    Returns:
        values (N, C, rows without halo, W); products of queries with keys (N, heads, c, c) and
        squares of both (N, 2 C), summed over the pixels.
    """
    count, channels, wide = x.shape[0], x.shape[1], x.shape[1] // heads
    shapes = [_map(x, channels, halo), (count, heads, wide, wide), (count, 2 * channels)]
    return tuple(_run("restormer_gather", shapes, x, weights, halo, eps=eps, heads=heads))


def restormer_finish(x: jt.Var, values: jt.Var, products: jt.Var, squares: jt.Var, weights: Named,
                     heads: int, eps: float, halo: tuple[int, int] = (0, 0)) -> jt.Var:
    """The output of a Restormer block, of all pixels or some rows.

    Args:
        x, values: block input and values, (N, C, rows, W).
        products, squares: summed over the whole image.
        weights: "temperature"; "attention_out", "norm", "project_in", "depthwise", "project_out",
            each with ".weight" and ".bias" as for `restormer_gather`.
        halo: see `naf_gather`.
    """
    named = {**weights, "values": values, "products": products, "squares": squares}
    return _run("restormer_finish", [_map(x, x.shape[1], halo)], x, named, halo, eps=eps,
                 heads=heads)[0]


def _map(x: jt.Var, channels: int, halo: tuple[int, int]) -> tuple[int, ...]:
    return (x.shape[0], channels, x.shape[2] - sum(halo), x.shape[3])


def _run(name: str, shapes, x: jt.Var, named: Named, halo: tuple[int, int],
         **numbers: float) -> list[jt.Var]:
    given = [(key, value) for key, value in named.items() if value is not None]
    places = {key: -1 for key in named} | {key: 1 + i for i, (key, _) in enumerate(given)}
    return LIBRARY.run(name, shapes, [x, *(value for _, value in given)], above=halo[0],
                       below=halo[1], **numbers, **places)
