"""Arithmetic of configured networks, counted from their shapes without building them.

Counted are multiply-adds (MAC) of convolutions and matrix products, those of a 3x3 convolution as
nine a pixel and pair of channels whatever algorithm computes it; a MAC is two FLOPs. Activations,
pooling, warping and normalisation are left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from restore_cli.errors import WeightsError
from restore_cli.nets.layout import Shapes, layout
from restore_cli.nets.led import shapes as led
from restore_cli.nets.led import shapes_nafnet, shapes_restormer
from restore_cli.nets.liif import shapes as liif
from restore_cli.nets.n2v import shapes as n2v
from restore_cli.nets.vsr import shapes as vsr

_TAIL = 5  # side of the one convolution that the linear end of the video network amounts to


def per_pixel(name: str, config: Mapping[str, Any]) -> float:
    """MAC per input pixel of a network whose output is as large as its input, or features of its
    size: LIIF encoders without up-sampling, Noise2Void, low-light RAW networks (packed pixels,
    RepNR folded).

    Raises:
        WeightsError: another network, or an unknown option.
    """
    if name in liif.ENCODER_DEFAULTS:
        config = liif.encoder_config(name, config)
        if config["no_upsampling"]:
            return _total(layout(name, config).shapes, _encoder_area)
    elif name == "n2v-unet":
        return _total(layout(name, config).shapes, _unet_area)
    elif name in n2v.REDNET_LAYERS:
        # The first convolution halves the sides and the last one doubles them.
        return _total(layout(name, config).shapes, lambda key: 1 / 4)
    elif name == "n2v-field":
        return _field(config)
    elif name in led.NAMES:
        config = {key: value for key, value in config.items() if key != "repnr"}
        return _total(layout(name, config).shapes, _led_area(name, config))
    raise WeightsError(f"the arithmetic of network '{name}' is not counted per pixel")


def decoder(arch: str, config: Mapping[str, Any], scale: float) -> float:
    """MAC per output pixel of the LIIF or MetaSR decoder as this program computes it: the first
    layer (for MetaSR the last) as a convolution at input resolution, corners blended before the
    last layer.

    Args:
        arch: "liif" or "metasr".
        config: upstream's arguments.
        scale: enlargement.
    """
    shapes = layout(arch, config).shapes
    layers = [shape for key, shape in shapes.items()
              if key.startswith("imnet.") and key.endswith(".weight")]
    name, args = liif.spec(config["encoder_spec"], "encoder_spec")
    channels = liif.encoder_channels(name, liif.encoder_config(name, args))
    if arch == "metasr":
        hidden, colours = layers[0][0], 3
        return colours * ((hidden + 1) * channels * 9 / scale**2 + hidden)
    config = liif.fill(liif.LIIF_DEFAULTS, config, arch)
    corners = 4 if config["local_ensemble"] else 1
    taps = 9 if config["feat_unfold"] else 1
    between = sum(map(math.prod, layers[1:-1]))
    return corners * between + math.prod(layers[-1]) + channels * taps * layers[0][0] / scale**2


def plain_decoder(arch: str, config: Mapping[str, Any]) -> float:
    """MAC per output pixel of the decoder as published: the whole MLP at every corner; MetaSR's
    weights at every pixel, and their product with the unfolded features."""
    shapes = layout(arch, config).shapes
    layers = [shape for key, shape in shapes.items()
              if key.startswith("imnet.") and key.endswith(".weight")]
    total = sum(map(math.prod, layers))
    if arch == "metasr":
        return total + layers[-1][0]
    config = liif.fill(liif.LIIF_DEFAULTS, config, arch)
    return total * (4 if config["local_ensemble"] else 1)


def flow(config: Mapping[str, Any], size: tuple[int, int]) -> tuple[float, float]:
    """MAC of the video network's flow network: extractor for a frame, decoders and refiner for a
    pair of frames.

    Args:
        size: (height, width) of a frame.
    """
    shapes = vsr.describe_flow({key: value for key, value in config.items()
                                if key.startswith("flow_") or key == "n_colors"}).shapes
    pixels = math.prod(-(-side // vsr.ALIGN) * vsr.ALIGN for side in size)
    extractor = _total(shapes, lambda key: _flow_area(key) if "Extractor" in key else 0)
    return extractor * pixels, (_total(shapes, _flow_area) - extractor) * pixels


def frame(config: Mapping[str, Any], size: tuple[int, int]) -> float:
    """MAC of the video network for one frame of many, as this program computes it: features of
    older frames are kept, the linear end is one convolution, the kernel is not estimated.

    Args:
        config: of network "vsr".
        size: (height, width) of the frame.
    """
    config = vsr.complete(config)
    shapes, feat = vsr.describe(config).shapes, config["n_feat"]
    extractor, pair = flow(config, size)
    own = _total(shapes, lambda key: key.startswith(("in_conv", "extra_feat", "fusion_conv",
                                                     "recons_net")))
    end = _TAIL**2 * feat * config["n_colors"] * 4 ** vsr.stages(config)
    return (own + end) * math.prod(size) + extractor + (config["n_sequence"] - 1) * pair


def plain_frame(config: Mapping[str, Any], size: tuple[int, int]) -> float:
    """The same as published, every window from nothing, without the kernel network."""
    config = vsr.complete(config)
    shapes, frames = vsr.describe(config).shapes, config["n_sequence"]

    def area(key: str) -> float:
        if key.startswith(("flow_net", "kernel_net")):
            return 0
        if key.startswith("upsample_layers"):
            return 4 ** (int(key.split(".")[1]) // 2)
        if key.startswith("out_conv"):
            return 4 ** vsr.stages(config)
        return frames if key.startswith(("in_conv", "extra_feat")) else 1

    extractor, pair = flow(config, size)
    return (_total(shapes, area) * math.prod(size) + 2 * (frames - 1) * extractor
            + (frames - 1) * pair)


def _total(shapes: Shapes, area: Callable[[str], float]) -> float:
    """Sum over convolutions of their weights times the part of the pixels they are applied to;
    for transposed ones, those of their input."""
    return sum(math.prod(shape) * area(key) for key, shape in shapes.items()
               if key.endswith(".weight") and len(shape) >= 4)


def _encoder_area(key: str) -> float:
    # Mean shifts are never applied; attention acts on means.
    return 0 if re.search(r"(sub|add)_mean|conv_du", key) else 1


def _unet_area(key: str) -> float:
    block, layer = (int(number) for number in re.findall(r"\d+", key)[:2])
    if block == 2:
        return sum(4.0**-level for level in range(1, n2v.UNET_LEVELS))
    if block == 5:
        return sum(4.0**-level for level in range(1, n2v.UNET_LEVELS - 1))
    return {1: 1.0, 3: 4.0**-n2v.UNET_LEVELS, 4: 4.0 ** (1 - n2v.UNET_LEVELS), 6: 1.0}[block]


def _field(config: Mapping[str, Any]) -> float:
    made = n2v.complete("n2v-field", config)
    depth, dims = made["depth"], made["conv_dims"]
    levels = [*range(depth + 1), *reversed(range(depth))]
    areas = {plan.key: 2.0 ** (-dims * level)
             for plan, level in zip(n2v.field_blocks(made), levels, strict=True)}
    return _total(layout("n2v-field", config).shapes,
                  lambda key: areas.get(key.rsplit(".", 2)[0], 1.0))


def _led_area(name: str, config: Mapping[str, Any]) -> Callable[[str], float]:
    levels = len(shapes_nafnet.complete(config)["enc_blk_nums"]) if name == "led-nafnet" else 0

    def unet(key: str) -> float:
        level = int(re.findall(r"\d+", key)[0])
        last = 2 * led.LEVELS + 1
        coarse = level - 1 if level <= led.LEVELS else max(last - level, 0)
        return 4.0 ** -(coarse + key.startswith("upv"))

    def nafnet(key: str) -> float:
        part, *rest = key.split(".")
        if ".sca." in key:
            return 0  # acts on means
        number = int(rest[0]) if rest[0].isdigit() else 0
        return 4.0 ** -{"encoders": number, "decoders": levels - 1 - number,
                        "middle_blks": levels, "ups": levels - number,
                        "downs": number + 1}.get(part, 0)

    def restormer(key: str) -> float:
        if key.startswith("latent"):
            return 4.0 ** (1 - shapes_restormer.LEVELS)
        found = re.match(r"(?:encoder_level|decoder_level|reduce_chan_level|up|down)(\d)", key)
        return 4.0 ** (1 - int(found[1])) if found else 1.0

    return {"led-nafnet": nafnet, "led-restormer": restormer}.get(name, unet)


def _flow_area(key: str) -> float:
    """Part of the pixels (sides multiples of 64) of a layer of the flow network."""
    parts = key.split(".")
    if "moduleRefiner" in key:
        return 4.0 ** -(vsr.FIRST + 1)
    place = parts.index("moduleExtractor") + 1 if "moduleExtractor" in key else 0
    level = vsr.LEVELS.index(parts[place].removeprefix("module"))
    # Transposed convolutions read the coarser level.
    return 4.0 ** -(level + 1 + ("moduleUp" in key))
