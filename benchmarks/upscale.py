"""Runs `restore bench upscale` over several networks and scales, each in a fresh process.

python benchmarks/upscale.py --models liif-compact,edsr-baseline-liif --scales 2,4 \
    --against torch --output results

writes results.json (every run of every part) and results.md (one table).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any


def main() -> int:
    """Runs the benchmarks and writes both files; the status is 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="liif-compact,edsr-baseline-liif",
                        help="names of known weights; random values are used")
    parser.add_argument("--scales", default="2,4")
    parser.add_argument("--output", type=Path, default=Path("bench-upscale"),
                        help="where to write, without extension")
    options, rest = parser.parse_known_args()
    records: list[dict[str, Any]] = []
    failed = False
    for model in options.models.split(","):
        for scale in options.scales.split(","):
            command = [sys.executable, "-m", "restore_cli", "bench", "upscale", "--json",
                       "--random", "--model", model, "--scale", scale, *rest]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
            failed |= done.returncode != 0
            records += map(json.loads, done.stdout.splitlines())
    options.output.with_suffix(".json").write_text(json.dumps(records, indent=1) + "\n")
    options.output.with_suffix(".md").write_text(table(records))
    sys.stdout.write(table(records))
    return int(failed)


def table(records: list[dict[str, Any]]) -> str:
    """Median times, and the ratio's least, median and greatest value, as Markdown."""
    lines = ["| network | scale | part | ms | PyTorch ms | ratio | least | greatest |",
             "|---|---:|---|---:|---:|---:|---:|---:|"]
    for record in records:
        cells = [record["model"], f"x{record['scale']:g}", record["part"],
                 f"{1000 * median(record['seconds']):.0f}"]
        ratios = record.get("ratios")
        cells += ([f"{1000 * median(record['torch_seconds']):.0f}", f"{median(ratios):.2f}",
                   f"{min(ratios):.2f}", f"{max(ratios):.2f}"] if ratios else ["", "", "", ""])
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
