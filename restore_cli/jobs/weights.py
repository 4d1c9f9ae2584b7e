"""What ``restore weights`` does, from names to results."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from restore_cli import units
from restore_cli.console import Console
from restore_cli.errors import ExitStatus, RestoreError, UsageError, WeightsError
from restore_cli.media.atomic import atomic_path, check_target
from restore_cli.weights.store import Status, Store

_FEEDS: Mapping[str, Mapping[str, Any]] = {
    "image": {"kind": "image"},
    "unit": {"kind": "unit", "clip": False},
    "unit-8bit": {"kind": "unit", "clip": True, "quantise": True},
}


def show(console: Console, task: str | None = None,
         environ: Mapping[str, str] = os.environ) -> ExitStatus:
    """Lists all known weights with their state and terms."""
    rows = [("NAME", "TASK", "STATE", "SIZE", "COMMERCIAL USE", "LICENCE")]
    found = Store(environ=environ, console=console).list(task)
    for status in found:
        entry = status.entry
        name = f"{entry.name} (default)" if entry.default else entry.name
        size = "-" if status.size is None else units.show(status.size)
        rows.append((name, entry.task, status.state, size, entry.commercial, entry.licence))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
             for row in rows]
    if not console.json_lines:
        for line in lines:
            console.result(line)
    for status in found if console.json_lines else ():
        console.result("", _record(status))
    notes: dict[str, list[str]] = {}
    for status in found:
        notes.setdefault(status.entry.note, []).append(status.entry.name)
    for note, names in notes.items():
        if note:
            console.info(f"{', '.join(names)}: {note}")
    return ExitStatus.OK


def fetch(console: Console, names: Sequence[str], *, task: str | None = None,
          everything: bool = False, force: bool = False, source: str | None = None,
          environ: Mapping[str, str] = os.environ) -> ExitStatus:
    """Fetches the named weights, or all of a task, and prints where they are.

    Raises:
        UsageError: nothing named, or one source for several names.
    """
    store = Store(environ=environ, console=console)
    if everything:
        names = [entry.name for entry in store.manifest.entries.values()
                 if entry.urls and task in (None, entry.task)]
    if not names:
        raise UsageError("name the weights to fetch, or --all",
                         hint="'restore weights list' shows the names")
    if source is not None and len(names) != 1:
        raise UsageError("--from goes with exactly one name")

    def one(name: str) -> dict[str, Any]:
        path = store.fetch(name, force=force, source=source)
        return {"path": str(path), "text": f"{name}: {path}"}

    return _each(console, names, one)


def verify(console: Console, names: Sequence[str] = (),
           environ: Mapping[str, str] = os.environ) -> ExitStatus:
    """Checks the named weights, or all that are here, by hash and against their network."""
    bad = 0
    for status in Store(environ=environ, console=console).verify(list(names)):
        text = f"{status.entry.name}: {'ok' if status.usable else status.state}"
        console.result(f"{text} ({status.detail})" if status.detail else text, _record(status))
        bad += not status.usable
    return ExitStatus.WEIGHTS if bad else ExitStatus.OK


def locate(console: Console, name: str, environ: Mapping[str, str] = os.environ) -> ExitStatus:
    """Prints the local file of an entry.

    Raises:
        WeightsError: it is not here, or damaged.
    """
    status = Store(environ=environ, console=console).status(name)
    if not status.usable:
        detail = f" ({status.detail})" if status.detail else ""
        hint = f"Use 'restore weights fetch {name}'" if status.entry.shipped is None else None
        raise WeightsError(f"the weights '{name}' are {status.state}{detail}", hint=hint)
    console.result(str(status.path), {"name": name, "path": str(status.path)})
    return ExitStatus.OK


def remove(console: Console, names: Sequence[str], *, forget: bool = False,
           environ: Mapping[str, str] = os.environ) -> ExitStatus:
    """Deletes fetched weights from the cache."""
    store = Store(environ=environ, console=console)

    def one(name: str) -> dict[str, Any]:
        freed = store.remove(name, forget=forget)
        return {"freed": freed, "text": f"{name}: removed, {units.show(freed)} freed"}

    return _each(console, names, one)


def convert(console: Console, source: str, output: str | None = None, *,
            dtype: str = "float32", overwrite: bool = False, licence: str = "unknown",
            normalisation: str | None = None, cameras: Sequence[str] = (),
            ratios: str | None = None) -> ExitStatus:
    """Converts a checkpoint to our safetensors and reports how its keys fared.

    Saved virtual cameras become a camera file.

    Args:
        normalisation: how a denoiser is fed, see `parse_normalisation`; None as the file tells.
        cameras: that a RAW denoiser was fitted to; none as the file tells.
        ratios: that it was trained on, such as "100-300"; None as the file tells.

    Raises:
        UsageError: the output makes no sense, or exists; a normalisation that makes none.
        WeightsError: the checkpoint is unreadable or fits no network.
        OutputError: the output cannot be written.
    """
    from restore_cli.weights import files
    from restore_cli.weights.convert import convert as convert_checkpoint
    from restore_cli.weights.convert import feed, tell
    from restore_cli.weights.converters import led_noise

    stated = None if normalisation is None else parse_normalisation(normalisation)
    known = {**({"cameras": list(cameras)} if cameras else {}),
             **({} if ratios is None else {"ratios": parse_ratios(ratios)})}
    path = Path(source)
    found = led_noise.camera_file(path) if path.is_file() else None
    if found is not None:
        if stated or known:
            raise UsageError("holds cameras, not a network: --normalisation, --camera and "
                             "--ratios have no meaning", path=path)
        return _write_cameras(console, path, _target(path, output, ".json", overwrite), *found,
                              overwrite=overwrite)
    target = _target(path, output, ".safetensors", overwrite)
    weights, report = convert_checkpoint(path, licence=licence)
    if stated is not None:
        feed(weights, _for_network(stated, weights.arch, weights.config))
    if known:
        _check_raw(weights.arch)
        tell(weights, known)
    files.write(target, weights, dtype, overwrite=overwrite)
    for what, keys in (("not used by the network", report.unused),
                       ("filled in, without influence", report.filled)):
        if keys:
            console.info(f"{what}: {', '.join(keys)}")
    for note in report.notes:
        console.info(f"note: {note}")
    count = sum(tensor.size for tensor in weights.tensors.values())
    console.result(
        f"{path} -> {target}: {weights.arch}, {count:,} values as {dtype}",
        {"input": str(path), "output": str(target), "arch": weights.arch,
         "config": weights.config, "values": count, "dtype": dtype,
         "metadata": weights.metadata, "report": asdict(report)})
    return ExitStatus.OK


def parse_ratios(text: str) -> list[float]:
    """Metadata "ratios" from ``--ratios``: "100-300", or one number for both ends.

    Raises:
        UsageError: anything else, or numbers below 1.
    """
    low, dash, high = text.partition("-")
    try:
        made = [float(low), float(high if dash else low)]
    except ValueError:
        made = []
    if not made or not 1 <= made[0] <= made[1] < math.inf:
        raise UsageError(f"--ratios {text} makes no sense", hint="Known: LOW-HIGH, from 1, such "
                                                                 "as 100-300")
    return made


def parse_normalisation(text: str) -> dict[str, Any]:
    """Metadata "normalisation" from ``--normalisation``.

    Args:
        text: "image", "unit", "unit-8bit", or means, a colon and standard deviations of the
            training data in its own units, one each or one a channel: ``110.7:63.7``.

    Raises:
        UsageError: anything else.
    """
    if text in _FEEDS:
        return dict(_FEEDS[text])
    means, _, stds = text.partition(":")
    try:
        mean, std = ([float(part) for part in side.split(",")] for side in (means, stds))
    except ValueError:
        mean, std = [], []
    if not mean or len(mean) != len(std) or not all(map(math.isfinite, [*mean, *std])) \
            or min(std) <= 0:
        raise UsageError(f"--normalisation {text} makes no sense",
                         hint=f"Known: {', '.join(_FEEDS)} or MEANS:STDS such as 110.7:63.7")
    return {"kind": "fixed", "mean": mean, "std": std}


def _target(path: Path, output: str | None, suffix: str, overwrite: bool) -> Path:
    """Where a conversion goes: what `output` names, a folder too, or beside the input.

    Raises:
        UsageError: a name of another kind, or the input itself.
        OutputError: it exists, or cannot be written.
    """
    target = Path(output) if output is not None else path.with_suffix(suffix)
    if target.is_dir():
        target = target / path.with_suffix(suffix).name
    if target.suffix != suffix:
        raise UsageError(f"the output's name must end in {suffix}", path=target)
    if target.exists() and path.exists() and target.samefile(path):
        raise UsageError("the output is the input itself", path=target,
                         hint="Name another with -o")
    check_target(target, overwrite=overwrite)
    return target


def _write_cameras(console: Console, path: Path, target: Path, text: str, count: int, *,
                   overwrite: bool) -> ExitStatus:
    from restore_cli.weights.converters import led_noise

    with atomic_path(target, overwrite=overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")
    console.info(f"note: {led_noise.NOTE}")
    console.result(f"{path} -> {target}: {count} cameras for 'restore train led --cameras'",
                   {"input": str(path), "output": str(target), "cameras": count})
    return ExitStatus.OK


def _check_raw(arch: str) -> None:
    from restore_cli.nets.led import shapes

    if arch not in shapes.NAMES:
        raise UsageError(f"--camera and --ratios are for networks that denoise RAW files, not for "
                         f"'{arch}'")


def _for_network(stated: dict[str, Any], arch: str, config: Mapping[str, Any]) -> dict[str, Any]:
    from restore_cli.nets.n2v import shapes

    if arch not in shapes.NAMES:
        raise UsageError(f"--normalisation is for denoising networks, not for '{arch}'")
    channels = shapes.complete(arch, config)["in_channels"]
    for key in ("mean", "std"):
        if len(stated.get(key, ())) == 1:
            stated[key] *= channels
        elif key in stated and len(stated[key]) != channels:
            raise UsageError(f"--normalisation has {len(stated[key])} numbers for a network of "
                             f"{channels} channels")
    return stated


def _each(console: Console, names: Sequence[str],
          do: Callable[[str], dict[str, Any]]) -> ExitStatus:
    """Does one thing for every name; failures are told and do not stop the rest."""
    status = ExitStatus.OK
    for name in dict.fromkeys(names):
        try:
            made = do(name)
        except RestoreError as error:
            console.error(error)
            if console.json_lines:
                console.result("", {"name": name, "status": "failed", "error": str(error)})
            status = ExitStatus.WEIGHTS
            continue
        text = made.pop("text")
        console.result(text, {"name": name, "status": "ok", **made})
    return status


def _record(status: Status) -> dict[str, Any]:
    entry = status.entry
    return {"name": entry.name, "task": entry.task, "state": status.state,
            "detail": status.detail, "path": str(status.path) if status.path else None,
            "size": status.size, "default": entry.default, "arch": entry.arch,
            "config": entry.config, "licence": entry.licence, "commercial": entry.commercial,
            "source": entry.source, "training_data": entry.training_data,
            "scores": dict(entry.scores), "sha256": entry.sha256, "urls": list(entry.urls),
            "page": entry.page, "note": entry.note}
