"""`restore evaluate n2v`: options of the evaluation of denoising."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, List, Optional

import typer

from restore_cli.cli import options as shared
from restore_cli.errors import UsageError

DATA, RESTORING, TRAINING, RESULTS = "Data", "What denoises", "Self-training", "Results"


def n2v(
    context: typer.Context,
    data: Annotated[List[Path], typer.Option(
        "--data", "-d", help="Folder of clean images, or (pairs) of noisy/ and clean/ or of files "
        "such as noisy_a.png and clean_a.png. Repeatable.", rich_help_panel=DATA)],
    clean: Annotated[Optional[Path], typer.Option(
        "--clean", help="pairs: folder of the references, with the names of the noisy files.",
        rich_help_panel=DATA)] = None,
    protocol: Annotated[str, typer.Option(
        "--protocol", "-p", help="bsd68 (grey, float results), colour (the same in RGB), source "
        "(the Noise2Void_jittor table: half of BSD68, 480x320, truncated) or pairs (noisy and "
        "clean files; also after the best gain and offset).", rich_help_panel=DATA)] = "bsd68",
    noise: Annotated[Optional[str], typer.Option(
        "--noise", help="gaussian or poisson; --sigma and --photons say it too. Default: "
        "gaussian.",
        rich_help_panel=DATA)] = None,
    sigma: Annotated[Optional[List[str]], typer.Option(
        "--sigma", help="Gaussian noise on the scale of 0 to 255; several with commas, or "
        "repeated. Default: 25.", rich_help_panel=DATA)] = None,
    photons: Annotated[Optional[List[str]], typer.Option(
        "--photons", help="Poisson noise: photons counted at white; several as --sigma. "
        "Default: 30.", rich_help_panel=DATA)] = None,
    noise_seed: Annotated[int, typer.Option(
        "--noise-seed", min=0, help="Seed of the noise.", rich_help_panel=DATA)] = 0,
    peak: Annotated[Optional[float], typer.Option(
        "--peak", help="pairs: range of the references' values; default: 255 for 8 bits, else "
        "each reference's own range.", rich_help_panel=DATA)] = None,
    limit: Annotated[Optional[int], typer.Option(
        "--limit", min=1, help="Only the first so many images of each folder.",
        rich_help_panel=DATA)] = None,
    quick: Annotated[bool, typer.Option(
        "--quick", help="The shipped weights, without training; the default.",
        rich_help_panel=RESTORING)] = False,
    model: Annotated[Optional[str], typer.Option(
        "--model", "-m", help="Name of known weights, used without training; see 'restore weights "
        "list --task denoise'.", rich_help_panel=RESTORING)] = None,
    weights: Annotated[Optional[str], typer.Option(
        "--weights", "-w", metavar="FILE", help="Weight file of your own, used without training.",
        rich_help_panel=RESTORING)] = None,
    self_train: Annotated[bool, typer.Option(
        "--self-train", help="A training on every noisy image, as restore denoise does it; slow.",
        rich_help_panel=RESTORING)] = False,
    identity: Annotated[bool, typer.Option(
        "--identity", help="Nothing: only the noisy images' own scores.",
        rich_help_panel=RESTORING)] = False,
    tta: Annotated[bool, typer.Option(
        "--tta", help="Mean over the eight flips and turns: a little better, eight times the "
        "work.", rich_help_panel=RESTORING)] = False,
    time: Annotated[Optional[float], typer.Option(
        "--time", metavar="SECONDS", help="How long each self-training may take; default: 30. "
        "Scores then depend on the machine.", rich_help_panel=TRAINING)] = None,
    steps: Annotated[Optional[int], typer.Option(
        "--steps", min=1, help="Training steps instead of a time: the same scores again.",
        rich_help_panel=TRAINING)] = None,
    seed: Annotated[int, typer.Option(
        "--seed", min=0, help="Seed of the training.", rich_help_panel=TRAINING)] = 0,
    cold: Annotated[bool, typer.Option(
        "--cold", "--no-warm-start", help="Start training from random weights instead of the "
        "shipped ones.", rich_help_panel=TRAINING)] = False,
    network: Annotated[Optional[str], typer.Option(
        "--network", help="field (default), n2v2, n2v-unet, rednet10, rednet20 or rednet30; all "
        "but field start from random weights.", rich_help_panel=TRAINING)] = None,
    csv: Annotated[Optional[Path], typer.Option(
        "--csv", help="Write every image's scores.", rich_help_panel=RESULTS)] = None,
    plots: Annotated[Optional[Path], typer.Option(
        "--plots", help="Draw plots into this folder.", rich_help_panel=RESULTS)] = None,
    save: Annotated[Optional[Path], typer.Option(
        "--save", help="Save the restored images into this folder.",
        rich_help_panel=RESULTS)] = None,
    overwrite: shared.Overwrite = False,
    device: shared.Device = "auto",
    threads: shared.Threads = None,
    memory: shared.Memory = None,
    tile: shared.Tile = None,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
    no_progress: shared.NoProgress = False,
    debug: shared.Debug = False,
) -> None:
    """PSNR and SSIM of denoising, by the published protocols.

    The noisy images are scored in the same way beside the result. What a protocol clips, rounds
    and cuts, and what others published for it, is printed under the table.

    restore evaluate n2v --data BSD68/ --sigma 10,25,50 --quick

    restore evaluate n2v --data cells/ --protocol pairs --self-train --steps 600
    """
    kind, levels = _noise(noise, sigma, photons)
    chosen = [name for name, given in (
        ("--quick", quick), ("--model", model), ("--weights", weights),
        ("--self-train", self_train), ("--identity", identity)) if given]
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)} exclude each other")
    training = [name for name, given in (
        ("--time", time), ("--steps", steps), ("--seed", seed), ("--cold", cold),
        ("--network", network)) if given]
    if training and not self_train:
        raise UsageError(f"{training[0]} is about training", hint="Add --self-train")
    if time is not None and steps is not None:
        raise UsageError("give either --time or --steps")
    console = shared.console(context, json=json, quiet=quiet, no_progress=no_progress, debug=debug)
    from restore_cli.jobs import evaluate_n2v as job
    from restore_cli.jobs.denoise import DenoiseRequest

    restoring = None if identity else DenoiseRequest(
        quick=quick or not chosen, model=model, weights=weights, network=network, cold=cold,
        seconds=time, steps=steps, seed=seed, tta=tta, device=device, threads=threads,
        memory=memory, tile=tile)
    request = job.DenoisingEvaluation(
        data=data, clean=clean, protocol=protocol, noise=kind, levels=levels,
        noise_seed=noise_seed, peak=peak, limit=limit, csv=csv, plots=plots, save=save,
        overwrite=overwrite, restoring=restoring)
    raise typer.Exit(int(job.run(request, console)))


def _noise(kind: str | None, sigma: list[str] | None, photons: list[str] | None
           ) -> tuple[str | None, list[float] | None]:
    """The kind of noise and its levels, None for the usual ones."""
    if sigma and photons:
        raise UsageError("--sigma and --photons are of two kinds of noise",
                         hint="Score them one after the other")
    kind = kind or ("gaussian" if sigma else "poisson" if photons else None)
    if (sigma and kind == "poisson") or (photons and kind == "gaussian"):
        wanted, given = ("--photons", "--sigma") if sigma else ("--sigma", "--photons")
        raise UsageError(f"{kind} noise takes {wanted}, not {given}")
    given = sigma or photons
    if not given:
        return kind, None
    option = "--sigma" if sigma else "--photons"
    # In the order given, each once.
    return kind, list(dict.fromkeys(_level(text, option) for text in ",".join(given).split(",")))


def _level(text: str, option: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 < found <= 1e6:  # also refuses NaN
        raise UsageError(f"{option} {text.strip() or 'nothing'} is no number above 0")
    return found
