"""Small random networks for the tests of `restore upscale`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from restore_cli.nets.layout import layout
from restore_cli.weights.files import Weights, write

MLP = {"name": "mlp", "args": {"out_dim": 3, "hidden_list": [32, 32]}}


def encoder(name: str, **args) -> dict:
    return {"name": name, "args": {"no_upsampling": True, **args}}


EDSR = encoder("edsr-baseline", n_resblocks=2, n_feats=16)
CONFIGS = {
    "liif": ("liif", {"encoder_spec": EDSR, "imnet_spec": MLP}),
    "metasr": ("metasr", {"encoder_spec": EDSR}),
    "fixed": ("liif", {"encoder_spec": {"name": "edsr-baseline", "args": {
        "n_resblocks": 2, "n_feats": 16, "scale": 2}}}),
    "edsr": ("edsr-baseline", {"n_resblocks": 2, "n_feats": 16, "scale": 2}),
    "rcan": ("liif", {"encoder_spec": encoder("rcan", n_resgroups=1, n_resblocks=1, n_feats=16,
                                              reduction=4), "imnet_spec": MLP}),
    "nearest": ("liif", {"encoder_spec": EDSR, "imnet_spec": MLP, "local_ensemble": False}),
}


def make(folder: Path, name: str) -> Path:
    """Writes random weights of one of `CONFIGS`, gains chosen so that outputs stay in [0, 1]."""
    arch, config = CONFIGS[name]
    rng = np.random.default_rng(5)
    tensors = {}
    last = list(layout(arch, config).shapes)[-2:]
    for key, shape in layout(arch, config).shapes.items():
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 100
        gain = 0.12 if key in last else 1.0
        tensors[key] = (rng.normal(size=shape) * gain * (1.4 / fan_in) ** 0.5).astype(np.float32)
    path = folder / f"{name}.safetensors"
    if not path.exists():
        write(path, Weights(arch, config, tensors, {}))
    return path
