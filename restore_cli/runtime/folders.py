"""Makes on disk what the plan says."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from restore_cli.runtime.environment import Link, Plan

# Jittor runs "python asm_tuner.py --cc_path=COMPILER ..." for every kernel. The tuning it does
# is for hand-written kernels that are not used here, and costs a quarter of the time; this script
# stands in for Python and goes straight to the compiler.
_WRAPPER = """#!/bin/sh
shift
compiler="${1#--cc_path=}"
shift
exec "$compiler" "$@"
"""


def apply(plan: Plan) -> None:
    """Creates the plan's folders, links and wrapper; what is there and right stays."""
    for folder in plan.folders:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    for link in plan.links:
        _show(link)
    if plan.wrapper:
        _write_script(Path(plan.wrapper), _WRAPPER)


def _show(link: Link) -> None:
    if os.path.islink(link.path) and os.readlink(link.path) == link.target:
        return
    os.makedirs(os.path.dirname(link.path), exist_ok=True)
    # Made beside and renamed over, so that a process starting now sees the old or the new one.
    handle, beside = tempfile.mkstemp(dir=os.path.dirname(link.path), prefix=".new-")
    os.close(handle)
    os.unlink(beside)
    try:
        os.symlink(link.target, beside)
    except (OSError, NotImplementedError):
        shutil.copyfile(link.target, beside)
    os.replace(beside, link.path)


def _write_script(path: Path, text: str) -> None:
    if path.is_file() and path.read_text() == text and os.access(path, os.X_OK):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    with os.fdopen(handle, "w") as file:
        file.write(text)
    os.chmod(beside, 0o755)
    os.replace(beside, path)
