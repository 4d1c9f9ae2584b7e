"""Parameter names, shapes and radii of the LIIF family, derived from the configuration.

Numbers and defaults are those of the published code (yinboc/liif, `models/`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping

from restore_cli.errors import WeightsError

Shapes = dict[str, tuple[int, ...]]

RDN_CONFIGS = {"A": (20, 6, 32), "B": (16, 8, 64)}  # blocks D, layers C, growth G

ENCODER_DEFAULTS: dict[str, dict[str, Any]] = {
    "edsr-baseline": dict(n_resblocks=16, n_feats=64, res_scale=1, scale=2,
                          no_upsampling=False, rgb_range=1),
    "edsr": dict(n_resblocks=32, n_feats=256, res_scale=0.1, scale=2,
                 no_upsampling=False, rgb_range=1),
    "rdn": dict(G0=64, RDNkSize=3, RDNconfig="B", scale=2, no_upsampling=False),
    "rcan": dict(n_resgroups=10, n_resblocks=20, n_feats=64, reduction=16, scale=2,
                 no_upsampling=False, rgb_range=1),
}
LIIF_DEFAULTS = dict(encoder_spec=None, imnet_spec=None, local_ensemble=True, feat_unfold=True,
                     cell_decode=True)
METASR_DEFAULTS = dict(encoder_spec=None)
MLP_DEFAULTS = dict(in_dim=None, out_dim=3, hidden_list=())

NAMES = ("liif", "metasr", *ENCODER_DEFAULTS, "mlp")


@dataclass(frozen=True)
class Facts:
    """Shapes, receptive radius (None: whole image), fixed scale (None: any)."""

    shapes: Shapes
    radius: int | None
    scale: int | None


def fill(defaults: Mapping[str, Any], config: Mapping[str, Any], what: str) -> dict[str, Any]:
    """`defaults` overlaid with `config`; a key that is not a default is refused."""
    unknown = sorted(set(config) - set(defaults))
    if unknown:
        raise WeightsError(f"{what} has no option {', '.join(unknown)}",
                           hint="Options: " + ", ".join(defaults))
    return {**defaults, **config}


def encoder_config(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Complete encoder arguments with upstream's defaults filled in."""
    if name not in ENCODER_DEFAULTS:
        raise WeightsError(f"unknown encoder '{name}'",
                           hint="Known: " + ", ".join(ENCODER_DEFAULTS))
    args = fill(ENCODER_DEFAULTS[name], config, f"encoder '{name}'")
    if name == "rdn" and args["RDNconfig"] not in RDN_CONFIGS:
        raise WeightsError(f"RDNconfig is '{args['RDNconfig']}', expected A or B")
    if not args["no_upsampling"]:
        upsampling_steps(name, args["scale"])
    return args


def upsampling_steps(name: str, scale: int) -> list[int]:
    """Pixel-shuffle factors of a fixed-scale tail: 2, 2, ... or 3."""
    if scale == 3:
        return [3]
    if scale in (2, 4) or (name != "rdn" and scale >= 2 and scale & (scale - 1) == 0):
        return [2] * (int(scale).bit_length() - 1)
    raise WeightsError(f"encoder '{name}' cannot upsample x{scale}",
                       hint="It knows x2, x3, x4" + ("" if name == "rdn" else ", x8, ..."))


def encoder_channels(name: str, args: Mapping[str, Any]) -> int:
    """Channels of the encoder's output: features, or RGB for a fixed-scale network."""
    if not args["no_upsampling"]:
        return 3
    return args["G0"] if name == "rdn" else args["n_feats"]


def decoder_inputs(config: Mapping[str, Any], channels: int) -> int:
    """Width of the LIIF decoder's input vector."""
    return (channels * (9 if config["feat_unfold"] else 1) + 2
            + (2 if config["cell_decode"] else 0))


def spec(value: Any, what: str) -> tuple[str, dict[str, Any]]:
    """Splits ``{"name": ..., "args": {...}}``."""
    if not isinstance(value, Mapping) or "name" not in value:
        raise WeightsError(f"{what} must be a table with a name and args")
    return value["name"], dict(value.get("args") or {})


def describe(name: str, config: Mapping[str, Any]) -> Facts:
    """Facts of one network of the family.

    Args:
        name: one of `NAMES`.
        config: upstream's `args` for it.
    """
    if name == "mlp":
        args = fill(MLP_DEFAULTS, config, "mlp")
        return Facts(_mlp(args["in_dim"], args["out_dim"], args["hidden_list"], ""), 0, 1)
    if name in ENCODER_DEFAULTS:
        args = encoder_config(name, config)
        return Facts(_encoder(name, args, ""), _radius(name, args),
                     1 if args["no_upsampling"] else args["scale"])
    config = fill(LIIF_DEFAULTS if name == "liif" else METASR_DEFAULTS, config, name)
    encoder, args = spec(config["encoder_spec"], "encoder_spec")
    args = encoder_config(encoder, args)
    shapes = _encoder(encoder, args, "encoder.")
    radius, channels = _radius(encoder, args), encoder_channels(encoder, args)
    if name == "metasr":
        shapes.update(_mlp(3, channels * 27, [256], "imnet."))
        return Facts(shapes, None if radius is None else radius + 1, None)
    if config["imnet_spec"] is None:
        # Queries only sample the encoder's RGB output; the nearest one may lie a pixel away.
        return Facts(shapes, None if radius is None else radius + 1, args["scale"])
    kind, mlp = spec(config["imnet_spec"], "imnet_spec")
    if kind != "mlp":
        raise WeightsError(f"unknown decoder '{kind}'", hint="Known: mlp")
    mlp = fill(MLP_DEFAULTS, mlp, "mlp")
    hidden = list(mlp["hidden_list"])
    shapes.update(_mlp(decoder_inputs(config, channels), mlp["out_dim"], hidden, "imnet."))
    reach = int(config["feat_unfold"]) + int(config["local_ensemble"])
    return Facts(shapes, None if radius is None else radius + max(reach, 1), None)


def _radius(name: str, args: Mapping[str, Any]) -> int | None:
    if name == "rcan":
        return None
    if name == "rdn":
        blocks, layers, _ = RDN_CONFIGS[args["RDNconfig"]]
        reach = args["RDNkSize"] // 2
        body = 2 * reach + blocks * layers * 1 + reach
    else:
        body = 1 + 2 * args["n_resblocks"] + 1
    # A tail's first convolution reaches one input pixel, all finer ones together less than one.
    return body if args["no_upsampling"] else body + 2


def _conv(shapes: Shapes, key: str, inputs: int, outputs: int, kernel: int = 3) -> None:
    shapes[f"{key}.weight"] = (outputs, inputs, kernel, kernel)
    shapes[f"{key}.bias"] = (outputs,)


def _mlp(inputs: int, outputs: int, hidden: list[int], prefix: str) -> Shapes:
    shapes: Shapes = {}
    for index, width in enumerate([*hidden, outputs]):
        shapes[f"{prefix}layers.{2 * index}.weight"] = (width, inputs)
        shapes[f"{prefix}layers.{2 * index}.bias"] = (width,)
        inputs = width
    return shapes


def _encoder(name: str, args: Mapping[str, Any], prefix: str) -> Shapes:
    return {"rdn": _rdn, "rcan": _rcan}.get(name, _edsr)(name, args, prefix)


def _edsr_tail(shapes: Shapes, name: str, args: Mapping[str, Any], prefix: str) -> None:
    if args["no_upsampling"]:
        return
    feats = args["n_feats"]
    for index, factor in enumerate(upsampling_steps(name, args["scale"])):
        _conv(shapes, f"{prefix}tail.0.{2 * index}", feats, feats * factor * factor)
    _conv(shapes, f"{prefix}tail.1", feats, 3)


def _mean_shift(shapes: Shapes, prefix: str) -> None:
    for part in ("sub_mean", "add_mean"):
        _conv(shapes, f"{prefix}{part}", 3, 3, 1)


def _edsr(name: str, args: Mapping[str, Any], prefix: str) -> Shapes:
    shapes: Shapes = {}
    feats, blocks = args["n_feats"], args["n_resblocks"]
    _mean_shift(shapes, prefix)
    _conv(shapes, f"{prefix}head.0", 3, feats)
    for block in range(blocks):
        for part in (0, 2):
            _conv(shapes, f"{prefix}body.{block}.body.{part}", feats, feats)
    _conv(shapes, f"{prefix}body.{blocks}", feats, feats)
    _edsr_tail(shapes, name, args, prefix)
    return shapes


def _rcan(name: str, args: Mapping[str, Any], prefix: str) -> Shapes:
    shapes: Shapes = {}
    feats, groups, blocks = args["n_feats"], args["n_resgroups"], args["n_resblocks"]
    squeezed = feats // args["reduction"]
    _mean_shift(shapes, prefix)
    _conv(shapes, f"{prefix}head.0", 3, feats)
    for group in range(groups):
        for block in range(blocks):
            key = f"{prefix}body.{group}.body.{block}.body"
            for part in (0, 2):
                _conv(shapes, f"{key}.{part}", feats, feats)
            _conv(shapes, f"{key}.3.conv_du.0", feats, squeezed, 1)
            _conv(shapes, f"{key}.3.conv_du.2", squeezed, feats, 1)
        _conv(shapes, f"{prefix}body.{group}.body.{blocks}", feats, feats)
    _conv(shapes, f"{prefix}body.{groups}", feats, feats)
    _edsr_tail(shapes, name, args, prefix)
    return shapes


def _rdn(name: str, args: Mapping[str, Any], prefix: str) -> Shapes:
    shapes: Shapes = {}
    base, kernel = args["G0"], args["RDNkSize"]
    blocks, layers, growth = RDN_CONFIGS[args["RDNconfig"]]
    _conv(shapes, f"{prefix}SFENet1", 3, base, kernel)
    _conv(shapes, f"{prefix}SFENet2", base, base, kernel)
    for block in range(blocks):
        key = f"{prefix}RDBs.{block}"
        for layer in range(layers):
            _conv(shapes, f"{key}.convs.{layer}.conv.0", base + layer * growth, growth)
        _conv(shapes, f"{key}.LFF", base + layers * growth, base, 1)
    _conv(shapes, f"{prefix}GFF.0", blocks * base, base, 1)
    _conv(shapes, f"{prefix}GFF.1", base, base, kernel)
    if not args["no_upsampling"]:
        scale = args["scale"]
        if scale == 4:
            _conv(shapes, f"{prefix}UPNet.0", base, growth * 4, kernel)
            _conv(shapes, f"{prefix}UPNet.2", growth, growth * 4, kernel)
            _conv(shapes, f"{prefix}UPNet.4", growth, 3, kernel)
        else:
            _conv(shapes, f"{prefix}UPNet.0", base, growth * scale * scale, kernel)
            _conv(shapes, f"{prefix}UPNet.2", growth, 3, kernel)
    return shapes
