"""Networks filled by the recipe of the golden cases, and how outputs are compared."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# Maximum error divided by max(1, max |reference|): what the golden cases promise.
TOLERANCE = 1e-4

# The rules of cases that do not list their own.
COMMON_RULES = ((r"(^|\.)body\.2\.weight$", 0.25), (r"(^|\.)LFF\.weight$", 0.25),
                (r"(^|\.)conv_du\.2\.weight$", 4.0), (r"^imnet\.layers\.(\d+)\.weight$", 1.5))


def tensor(key: str, shape: Sequence[int]) -> np.ndarray:
    """The recipe's values for one state-dict key, before any rule."""
    values = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape)
    values = values.astype(np.float32)
    if len(shape) >= 2:
        return values * np.float32(1 / np.sqrt(np.prod(shape[1:])))
    return np.float32(0.02) * values


def fill(shapes: Mapping[str, Sequence[int]], rules: Sequence[Sequence[Any]] = (),
         gains: Mapping[str, float] | None = None) -> dict[str, np.ndarray]:
    """A whole state dict: the first rule whose pattern is found in the key scales it."""
    filled = {}
    for key, shape in shapes.items():
        values = tensor(key, shape)
        for pattern, factor in rules:
            if re.search(pattern, key):
                values = values * np.float32(factor)
                break
        filled[key] = values * np.float32((gains or {}).get(key, 1.0))
    return filled


def network(spec: Mapping[str, Any], rules: Sequence[Sequence[Any]] = (),
            gains: Mapping[str, float] | None = None):
    """The network of ``{"name": ..., "args": ...}`` filled by the recipe."""
    from restore_cli.nets import registry

    module = registry.build(spec["name"], spec["args"])
    shapes = registry.layout(spec["name"], spec["args"]).shapes
    module.load_state_dict(fill(shapes, rules, gains))
    return module


def liif_spec(blocks: int = 2, feats: int = 16, hidden: Sequence[int] = (64, 64),
              **options: bool) -> dict[str, Any]:
    """A small LIIF on an EDSR encoder; `options` are LIIF's own (local_ensemble, ...)."""
    encoder = {"name": "edsr-baseline",
               "args": {"no_upsampling": True, "n_resblocks": blocks, "n_feats": feats}}
    decoder = {"name": "mlp", "args": {"out_dim": 3, "hidden_list": list(hidden)}}
    return {"name": "liif", "args": {"encoder_spec": encoder, "imnet_spec": decoder, **options}}


def metasr_spec(blocks: int = 2, feats: int = 16) -> dict[str, Any]:
    """A small MetaSR on an EDSR encoder."""
    encoder = {"name": "edsr-baseline",
               "args": {"no_upsampling": True, "n_resblocks": blocks, "n_feats": feats}}
    return {"name": "metasr", "args": {"encoder_spec": encoder}}


def normalised(image: np.ndarray) -> np.ndarray:
    """[0, 1] to the networks' own units."""
    return ((image - 0.5) / 0.5).astype(np.float32)


def error(actual: np.ndarray, reference: np.ndarray, skip: np.ndarray | None = None) -> float:
    """Largest error relative to max(1, max |reference|).

    Args:
        skip: (H, W) mask of pixels of (N, H, W, C) arrays that are left out.
    """
    assert actual.shape == reference.shape
    difference = np.abs(actual.astype(np.float64) - reference)
    assert np.isfinite(difference).all()
    if skip is not None:
        difference = difference[:, ~skip]
    return float(difference.max() / max(1.0, np.abs(reference).max()))


def mask(case: Mapping[str, Any], key: str, size: Sequence[int]) -> np.ndarray | None:
    """The unpacked (H, W) mask `key` of a golden case, or None."""
    if key not in case:
        return None
    return np.unpackbits(case[key])[:size[0] * size[1]].reshape(size).astype(bool)


def grid_query(size: Sequence[int], cell_scale: float = 1.0,
               count: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates and cells (count, H W, 2) of a regular grid, for `query`."""
    from restore_cli.nets.liif.grid import make_coord

    axes = np.meshgrid(make_coord(size[0]), make_coord(size[1]), indexing="ij")
    coord = np.stack(axes, axis=-1).reshape(1, -1, 2)
    cell = np.ones_like(coord) * np.array([2 / size[0], 2 / size[1]], np.float32)
    cell = (cell * cell_scale).astype(np.float32)
    return coord.repeat(count, axis=0), cell.repeat(count, axis=0)


def images(out) -> np.ndarray:
    """A rendered Var (N, C, H, W) as an array (N, H, W, C)."""
    return out.numpy().transpose(0, 2, 3, 1)
