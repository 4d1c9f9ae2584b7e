"""What `restore bench all` times: the networks of every system, their sizes and targets."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restore_cli.console import Console
from restore_cli.errors import ExitStatus
from restore_cli.nets import flops

SYSTEMS = ("upscale", "denoise", "denoise-raw", "vsr")
SIZES = ("tiny", "modest", "full")
KINDS = {"encoder": "network", "network": "network", "engine": "same arithmetic",
         "pipeline": "file to file", "train": "training"}
"""What each part is, by its name in the systems' own benchmarks; others are not shown."""

ENGINE = 1.0
"""Target of rows with the same arithmetic on both sides that have none of their own."""

_BARE = {"no_upsampling": True}
_METASR = {"encoder_spec": {"name": "edsr-baseline", "args": _BARE}}
_SCALE = 4
_BATCH, _PATCH, _STEPS = 4, 64, 10  # of the denoisers' training

# (height, width); frames of the film, training steps of a run, RAW patches and their side.
_WHAT = {
    "tiny": {"trunk": (16, 24), "liif": (8, 12), "rdn": (8, 8), "metasr": (8, 12),
             "denoise": (64, 64), "raw": (64, 112), "vsr": (16, 24), "frames": 5, "steps": 1,
             "patches": (1, 32)},
    "modest": {"trunk": (256, 256), "liif": (128, 128), "rdn": (64, 64), "metasr": (128, 128),
               "denoise": (512, 512), "raw": (712, 1064), "vsr": (96, 160), "frames": 10,
               "steps": _STEPS, "patches": (8, 128)},
    "full": {"trunk": (256, 256), "liif": (256, 256), "rdn": (128, 128), "metasr": (256, 256),
             "denoise": (1024, 1024), "raw": (2848, 4256), "vsr": (180, 320), "frames": 10,
             "steps": _STEPS, "patches": (8, 128)},
}


@dataclass(frozen=True)
class Common:
    """What all benchmarks are asked alike: `bench_rounds.Request` without size and parts."""

    repeat: int
    against: str | None
    device: str
    threads: int
    memory: str | None

    def options(self) -> dict[str, Any]:
        """As arguments of a request."""
        return dict(vars(self))


@dataclass(frozen=True)
class Bench:
    """One benchmark of one network.

    Attributes:
        system: its command.
        network: as tables name it.
        key: its name in the records' parts, or "".
        size: of its input, as tables show it.
        run: does it; records go to the console.
        macs: multiply-adds of a part, where they are counted.
        targets: of parts.
        same: parts whose arithmetic is the same on both sides.
    """

    system: str
    network: str
    key: str
    size: str
    run: Callable[[Console], ExitStatus]
    macs: Mapping[str, float]
    targets: Mapping[str, float]
    same: frozenset[str] = frozenset()


def benches(systems: tuple[str, ...], size: str, common: Common, folder: Path) -> list[Bench]:
    """All benchmarks in the order of the table.

    Args:
        systems: some of `SYSTEMS`.
        size: one of `SIZES`.
        folder: for weights of networks that have no name.
    """
    make = {"upscale": _upscale, "denoise": _denoise, "denoise-raw": _raw, "vsr": _vsr}
    return [one for system in systems for one in make[system](_WHAT[size], common, folder)]


def _upscale(what: Mapping[str, Any], common: Common, folder: Path) -> list[Bench]:
    def bench(network: str, size: tuple[int, int], parts: tuple[str, ...], arch: str,
              config: dict[str, Any], targets: dict[str, float], model: str | None = None,
              same: tuple[str, ...] = (), scale: int = _SCALE) -> Bench:
        def run(console: Console) -> ExitStatus:
            from restore_cli.jobs import bench
            from restore_cli.weights import files

            weights = None
            if model is None:
                weights = folder / "weights.safetensors"
                files.write(weights, bench.random_weights(arch, config))
            return bench.run(bench.BenchRequest(
                size=size, scale=scale, parts=parts, model=model, random=model is not None,
                weights=None if weights is None else str(weights), **common.options()), console)

        name, args = config["encoder_spec"]["name"], config["encoder_spec"]["args"]
        encoder = flops.per_pixel(name, args) * math.prod(size)
        decoder = flops.decoder(arch, config, scale) * math.prod(size) * scale**2
        macs = {"encoder": encoder, "network": encoder + decoder}
        return Bench("upscale", network, "", _shown(size), run, macs, targets, frozenset(same))

    def liif(encoder: str) -> dict[str, Any]:
        return {"encoder_spec": {"name": encoder, "args": _BARE},
                "imnet_spec": {"name": "mlp",
                               "args": {"out_dim": 3, "hidden_list": [256, 256, 256, 256]}}}

    return [
        bench("EDSR-baseline trunk", what["trunk"], ("encoder",), "liif", liif("edsr-baseline"),
              {"encoder": 2.2}, "edsr-baseline-liif", ("encoder",), scale=1),
        bench(f"EDSR-baseline-LIIF x{_SCALE}", what["liif"], ("network", "pipeline"), "liif",
              liif("edsr-baseline"), {"network": 3.0}, "edsr-baseline-liif"),
        bench(f"RDN-LIIF x{_SCALE}", what["rdn"], ("network",), "liif", liif("rdn"),
              {"network": 1.8}, "rdn-liif"),
        bench(f"EDSR-baseline-MetaSR x{_SCALE}", what["metasr"], ("network",), "metasr", _METASR,
              {"network": 5.0}),
    ]


def _denoise(what: Mapping[str, Any], common: Common, folder: Path) -> list[Bench]:
    from restore_cli.jobs import denoise_network

    def bench(network: str, key: str, targets: dict[str, float]) -> Bench:
        def run(console: Console) -> ExitStatus:
            from restore_cli.jobs import bench_denoise

            return bench_denoise.run(bench_denoise.DenoiseBenchRequest(
                size=size, networks=(key,), steps=what["steps"], batch=_BATCH, patch=_PATCH,
                **common.options()), console)

        size = what["denoise"]
        macs = {"network": flops.per_pixel(*denoise_network.architecture(key, 1))
                * math.prod(size)}
        return Bench("denoise", network, key, _shown(size), run, macs, targets,
                     frozenset({"train", "network"}))

    return [bench("field U-Net", "field", {}),
            bench("N2V U-Net", "n2v-unet", {"network": 1.8, "train": 1.2}),
            bench("REDNet30", "rednet30", {})]


def _raw(what: Mapping[str, Any], common: Common, folder: Path) -> list[Bench]:
    def bench(network: str, key: str, arch: str, config: dict[str, Any], parts: tuple[str, ...],
              targets: dict[str, float]) -> Bench:
        def run(console: Console) -> ExitStatus:
            from restore_cli.jobs import bench_raw

            batch, patch = what["patches"]
            return bench_raw.run(bench_raw.RawBenchRequest(
                size=size, parts=parts, networks=(key,), steps=1, batch=batch, patch=patch,
                **common.options()), console)

        size = what["raw"]
        macs = {"network": flops.per_pixel(arch, config) * math.prod(size) / 4}
        return Bench("denoise-raw", network, key, _shown(size), run, macs, targets,
                     frozenset({"train", "network"}))

    whole = ("train", "network", "pipeline")
    return [bench("LED compact U-Net", "compact", "led-unet", {"channels": 16}, whole, {}),
            bench("LED U-Net", "unet", "led-unet", {"channels": 32}, whole, {"network": 1.8}),
            bench("NAFNet", "nafnet", "led-nafnet", {}, ("train", "network"), {}),
            bench("Restormer", "restormer", "led-restormer", {}, ("network",), {})]


def _vsr(what: Mapping[str, Any], common: Common, folder: Path) -> list[Bench]:
    from restore_cli.jobs.train_vsr import MODELS

    def bench(network: str, key: str, targets: dict[str, float]) -> Bench:
        def run(console: Console) -> ExitStatus:
            from restore_cli.jobs import bench_vsr

            return bench_vsr.run(bench_vsr.VsrBenchRequest(
                size=size, networks=(key,), parts=None, frames=what["frames"],
                **common.options()), console)

        size = what["vsr"]
        macs = flops.frame(MODELS[key], size)
        return Bench("vsr", network, key, _shown(size), run, {"network": macs, "engine": macs},
                     targets, frozenset({"engine"}))

    return [bench("compact video network", "compact", {}),
            bench("published video network", "published", {"network": 4.0})]


def _shown(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"
