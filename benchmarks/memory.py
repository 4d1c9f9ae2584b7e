"""Measures what commands hold at their peak under `--memory`, and what long runs keep.

python benchmarks/memory.py --ceiling 1G,4G -o memory.md
python benchmarks/memory.py --only vsr --limit 120
python benchmarks/memory.py --leaks

Inputs are made once, in --folder. The peak of the command itself is the kernel's (`ru_maxrss`, as
`/usr/bin/time -f %M` prints it); with its child processes it is the largest sum of resident sizes
(`/proc/PID/statm`) that is seen every 20 milliseconds. Linux only.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# No NumPy here, and none of restore: the kernel counts what a process held before it became the
# command, so this one stays small. What needs them runs as `--make` in a process of its own.

SIZES = {"1": (1200, 900), "3": (2000, 1500), "6": (2900, 2160), "12": (4000, 3000),
         "25": (5800, 4320), "48": (8000, 6000), "100": (11600, 8640)}
"""(width, height) by megapixels."""

TICK = 0.02
FIRST = 0.1
"""Part of a long run after which growth is measured."""

SEGMENT = 10  # frames between two records of a film


@dataclass(frozen=True)
class Case:
    """A command to measure.

    Attributes:
        system: the subcommand.
        what: for the table.
        source: input, by the name that `--make` understands.
        output: name of the result.
        options: of the command.
        weights: of random values, by the name that `--make` understands; "" takes those shipped.
        count: inputs, for long runs.
    """

    system: str
    what: str
    source: str
    output: str
    options: tuple[str, ...] = ()
    weights: str = ""
    count: int = 1


def _pictures() -> Iterator[Case]:
    for source, scale, output in (("12.jpg", 2, "png"), ("12.png", 2, "jpg"), ("12.png", 4, "png"),
                                  ("3.png", 4, "tif"), ("6.png", 4, "jpg"), ("25.png", 2, "png"),
                                  ("48.jpg", 1, "png"), ("100.jpg", 1, "tif")):
        yield _picture(source, scale, output)
    yield _picture("12-16.tif", 2, "tif")
    yield _picture("25-16.tif", 2, "tif")
    for name, source in (("edsr-baseline", "12.png"), ("rdn", "12.png"), ("rcan", "1.png")):
        yield _picture(source, 2, "png", name)


def _picture(source: str, scale: int, output: str, weights: str = "") -> Case:
    made = int(source.partition(".")[0].partition("-")[0]) * scale**2
    return Case("upscale", f"{_shown(source)} x{scale} to {made} MP {output}", source,
                f"out.{output}", ("--scale", str(scale)), weights)


def _noisy() -> Iterator[Case]:
    for source in ("12.png", "12.jpg", "12-16.tif", "48.png", "48.jpg", "48-16.tif", "100.jpg",
                   "100-16.tif", "100-16-grey.tif"):
        suffix = source.rpartition(".")[2]
        yield Case("denoise", f"{_shown(source)}, --quick", source, f"out.{suffix}", ("--quick",))
    for source in ("12-16.tif", "48.png", "100-16.tif"):
        yield Case("denoise", f"{_shown(source)}, --steps 3", source,
                   f"out.{source.rpartition('.')[2]}", ("--steps", "3"))
    yield Case("denoise", f"{_shown('12-16.tif')}, n2v-unet, --steps 3", "12-16.tif", "out.tif",
               ("--network", "n2v-unet", "--steps", "3"))


def _raw() -> Iterator[Case]:
    for size in ("12", "48", "100"):
        for output in ("dng", "tif", "jpg") if size != "12" else ("dng", "tif"):
            yield Case("denoise-raw", f"{size} MP DNG to {output}", f"{size}.dng", f"out.{output}",
                       ("--ratio", "100"))
    for name in ("led-unet", "led-nafnet"):
        yield Case("denoise-raw", f"48 MP DNG to dng, {name}", "48.dng", "out.dng",
                   ("--ratio", "100"), name)


def _films() -> Iterator[Case]:
    for codec, output in (("x264", "mp4"), ("x265", "mp4"), ("prores", "mov"), ("ffv1", "mkv"),
                          ("vp9", "webm")):
        yield Case("vsr", f"1080p film to 4320p {codec}", "1080.mp4", f"out.{output}",
                   ("--codec", codec))
    yield Case("vsr", "1080p film to 4320p pictures", "1080.mp4", "out/%05d.png")
    yield Case("vsr", "1080p film to 2160p x264", "1080.mp4", "out.mp4", ("--scale", "2"))
    yield Case("vsr", "1080p film to 4320p x264, published size", "1080.mp4", "out.mp4", (), "vsr")


def _shown(source: str) -> str:
    stem, _, suffix = source.rpartition(".")
    size, *rest = stem.split("-")
    return f"{size} MP {'-'.join(rest) + ' bit ' if rest else ''}{suffix}".replace("-grey bit",
                                                                                   " bit grey")


CASES = (*_pictures(), *_noisy(), *_raw(), *_films())
LEAKS = (Case("upscale", "pictures x2", "small.png", "out/", ("--scale", "2"), "", 500),
         Case("denoise", "pictures, --quick", "small.png", "out/", ("--quick",), "", 500),
         Case("denoise-raw", "DNGs", "small.dng", "out/", ("--ratio", "100"), "", 200),
         Case("vsr", "frames", "small.mp4", "out.mp4", (), "", 2000))


@dataclass
class Watched:
    """What was seen of a command.

    Attributes:
        own, tree: bytes at the peak, without and with its child processes.
        seconds: of wall time.
        status: its exit status; None when it was stopped after the limit.
        words: the last line that it said on stderr.
        held: bytes of the tree after each record on stdout.
    """

    own: int = 0
    tree: int = 0
    seconds: float = 0.0
    status: int | None = 0
    words: str = ""
    held: list[int] = field(default_factory=list)


def watch(command: Sequence[str], limit: float) -> Watched:
    """Runs a command, and ends it after `limit` seconds."""
    found, begun = Watched(), time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said: list[str] = []
    readers = [threading.Thread(target=lambda: said.extend(process.stderr), daemon=True),
               threading.Thread(target=_records, args=(process, found), daemon=True)]
    for reader in readers:
        reader.start()
    stopped = False
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        found.tree = max(found.tree, _held(process.pid))
        if not stopped and time.perf_counter() - begun > limit:
            stopped = True
            os.kill(process.pid, signal.SIGTERM)
        time.sleep(TICK)
    process.returncode = os.waitstatus_to_exitcode(status)
    for reader in readers:
        reader.join()
    found.seconds = time.perf_counter() - begun
    found.own = usage.ru_maxrss * 1024
    found.tree = max(found.own, found.tree)
    found.status = None if stopped else process.returncode
    found.words = said[-1].strip() if said else ""
    return found


def _records(process: subprocess.Popen, found: Watched) -> None:
    for line in process.stdout:
        if line.startswith("{"):
            found.held.append(_held(process.pid))


def _held(pid: int) -> int:
    """Bytes that a process and all below it hold."""
    total, waiting = 0, [(pid, "")]
    while waiting:
        one, above = waiting.pop()
        try:
            size, resident, *_ = Path(f"/proc/{one}/statm").read_text().split()
            if size == above:
                continue  # it has not become another program yet: its pages are its parent's
            total += int(resident) * os.sysconf("SC_PAGE_SIZE")
            for thread in os.listdir(f"/proc/{one}/task"):
                below = Path(f"/proc/{one}/task/{thread}/children").read_text().split()
                waiting += [(int(child), size) for child in below]
        except (OSError, ValueError):
            continue  # it has ended
    return total


def make(name: str, path: str) -> None:
    """Makes an input or a weight file; what is named says which."""
    stem, _, suffix = name.rpartition(".")
    if not stem:
        _make_weights(suffix, path)
    elif suffix == "dng":
        _make_dng(SIZES.get(stem, (96, 64)), path)
    elif suffix == "mp4":
        size, count = ("1920x1080", 8) if stem == "1080" else ("64x48", 2000)
        _make_film(size, count, path)
    else:
        _make_picture(SIZES.get(stem.partition("-")[0], (96, 64)), stem.split("-")[1:], path)


def _make_picture(size: tuple[int, int], form: Sequence[str], path: str) -> None:
    import numpy as np

    from restore_cli.jobs.bench import synthetic_picture
    from restore_cli.media import images

    noise = np.random.default_rng(0).normal(0, 8, (1024, 1024, 3))
    part = np.clip(synthetic_picture(1024, 1024) + noise, 0, 255)
    part = (part * 257).astype(np.uint16) if "16" in form else part.astype(np.uint8)
    part = part[..., :1] if "grey" in form else part
    times = (-(-size[1] // 1024), -(-size[0] // 1024), 1)
    images.write(path, images.Image(np.tile(part, times)[:size[1], :size[0]]))


def _make_dng(size: tuple[int, int], path: str) -> None:
    import numpy as np

    sys.path.append(str(Path(__file__).parents[1] / "tests" / "media"))
    from raw_files import write_dng

    rng = np.random.default_rng(0)
    light = rng.poisson(40, (1024, 1024)) + rng.normal(0, 6, (1024, 1024)) + 512
    times = (-(-size[1] // 1024), -(-size[0] // 1024))
    mosaic = np.tile(light.astype(np.uint16), times)[:size[1], :size[0]]
    write_dng(Path(path), mosaic, compression="ljpeg")


def _make_film(size: str, count: int, path: str) -> None:
    import imageio_ffmpeg

    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y", "-f", "lavfi",
                    "-i", f"testsrc2=size={size}:rate=25", "-frames:v", str(count), "-pix_fmt",
                    "yuv420p", path], check=True)


def _make_weights(name: str, path: str) -> None:
    from restore_cli.jobs.bench import random_weights
    from restore_cli.weights import files

    def liif(encoder: str, hidden: int, **args) -> dict:
        return {"encoder_spec": {"name": encoder, "args": {"no_upsampling": True, **args}},
                "imnet_spec": {"name": "mlp",
                               "args": {"out_dim": 3, "hidden_list": [hidden] * 4}}}

    tiny = {"tiny-upscale": ("liif", liif("edsr-baseline", 16, n_resblocks=1, n_feats=16)),
            "tiny-denoise": ("n2v-field", {"depth": 1, "num_channels_init": 4, "in_channels": 1,
                                           "num_classes": 1, "use_batch_norm": False}),
            "tiny-denoise-raw": ("led-unet", {"channels": 4}),
            "tiny-vsr": ("vsr", {"n_feat": 16, "recons_RBS": 1, "extra_RBS": 1})}
    if name in tiny:
        found = random_weights(*tiny[name])
    elif name in ("edsr-baseline", "rdn", "rcan"):
        found = random_weights("liif", liif(name, 256))
    else:
        found = random_weights(name, {})
    found.metadata.update(cameras='["any"]')
    files.write(Path(path), found)


def made(folder: Path, name: str) -> Path:
    """An input or weight file in `folder`, made if it is not there."""
    path = folder / (name if "." in name else f"{name}.safetensors")
    if not path.exists():
        part = path.with_name(f"part-{path.name}")
        part.unlink(missing_ok=True)
        subprocess.run([sys.executable, __file__, "--make", name, str(part)], check=True)
        part.rename(path)
    return path


def command(case: Case, folder: Path, options: argparse.Namespace, ceiling: str | None
            ) -> list[str]:
    """The command of a case, its inputs made and its output removed."""
    source = made(folder, case.source)
    if case.count > 1 and case.system != "vsr":
        source = folder / f"many-{case.source}"
        source.mkdir(exist_ok=True)
        for number in range(case.count):
            copy = source / f"{number:04d}.{case.source.rpartition('.')[2]}"
            if not copy.exists():
                os.link(folder / case.source, copy)
    output = folder / "output"
    shutil.rmtree(output, ignore_errors=True)
    (output / "out").mkdir(parents=True)
    words = [sys.executable, "-m", "restore_cli", case.system, str(source), "-o",
             str(output / case.output), "--device", "cpu", "--no-progress", "--threads",
             str(options.threads), *case.options]
    weights = case.weights or (f"tiny-{case.system}" if options.tiny else "")
    if weights:
        words = [word for word in words if word != "--quick"]
        words += ["--weights", str(made(folder, weights))]
    if case.count > 1:
        words += ["--json", *(("--segment", str(SEGMENT)) if case.system == "vsr" else ())]
    return words + (["--memory", ceiling] if ceiling else [])


def peaks(cases: Sequence[Case], folder: Path, options: argparse.Namespace) -> Iterator[str]:
    """Lines of the table of peaks."""
    yield "| command | case | ceiling | peak, MiB | with children | seconds | exit |"
    yield "|---|---|---:|---:|---:|---:|---|"
    for case in cases:
        for ceiling in options.ceiling.split(","):
            words = command(case, folder, options, ceiling)
            sys.stderr.write(shlex.join(words) + "\n")
            found = watch(words, options.limit)
            status = "stopped" if found.status is None else str(found.status)
            if found.status:
                status += f": {found.words}".replace(str(folder) + os.sep, "")
            yield (f"| {case.system} | {case.what}{_with(case)} | {ceiling} | "
                   f"{found.own >> 20} | {found.tree >> 20} | {found.seconds:.0f} | {status} |")


def _with(case: Case) -> str:
    return f", {case.weights}" if case.weights and case.weights not in case.what else ""


def leaks(cases: Sequence[Case], folder: Path, options: argparse.Namespace) -> Iterator[str]:
    """Lines of the table of long runs."""
    yield "| command | run | MiB after a tenth | at the end | growth | peak | seconds | exit |"
    yield "|---|---|---:|---:|---:|---:|---:|---|"
    for case in cases:
        words = command(case, folder, options, None)
        sys.stderr.write(shlex.join(words) + "\n")
        found = watch(words, options.limit)
        held = found.held[:-1] if case.system == "vsr" else found.held  # its last one is the film
        # Of a run's parts, since what is held moves with the part of the work that is seen.
        tenth = max(1, int(len(held) * FIRST))
        first, last = (max(part, default=0) for part in (held[tenth:2 * tenth], held[-tenth:]))
        done = case.count if found.status == 0 else len(held) * (
            SEGMENT if case.system == "vsr" else 1)
        yield (f"| {case.system} | {done} {case.what} | {first >> 20} | {last >> 20} | "
               f"{(last - first) / 2**20:+.1f} | {found.tree >> 20} | {found.seconds:.0f} | "
               f"{'stopped' if found.status is None else found.status} |")


def main() -> int:
    """Prints a table, and writes it to a file if one is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ceiling", default="1G,4G", help="values of --memory")
    parser.add_argument("--only", help="subcommands, with commas between them")
    parser.add_argument("--match", default="", help="cases whose description has this")
    parser.add_argument("--leaks", action="store_true", help="long runs instead")
    parser.add_argument("--limit", type=float, default=600,
                        help="seconds after which a command is stopped")
    parser.add_argument("--tiny", action="store_true", help="small random networks in place of "
                        "the shipped ones: what pictures, films and codecs take, sooner")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("memory-files"),
                        help="for inputs, which are kept, and results; takes 3 GB")
    parser.add_argument("-o", "--output", type=Path, help="Markdown file to write")
    parser.add_argument("--make", nargs=2, metavar=("WHAT", "PATH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        make(*options.make)
        return 0
    folder = options.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    chosen = [case for case in (LEAKS if options.leaks else CASES)
              if (not options.only or case.system in options.only.split(","))
              and options.match in case.what + case.weights]
    lines = []
    for line in (leaks if options.leaks else peaks)(chosen, folder, options):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
        lines.append(line)
    shutil.rmtree(folder / "output", ignore_errors=True)
    if options.output:
        options.output.write_text("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
