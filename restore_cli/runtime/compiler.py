"""Finds the C++ compiler that Jittor builds its kernels with."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler: its kind as Jittor names it (g++, clang, cl), absolute path, version."""

    kind: str
    path: str
    version: str
    stamp: str = ""


def find(system: str, environ: Mapping[str, str]) -> tuple[Compiler | None, str | None]:
    """The compiler to use, or None and why the one that was found does not serve.

    ``CXX`` is asked first, then the platform's usual names. Each is run once.
    """
    problem = None
    for name in _names(system, environ):
        path = shutil.which(name, path=environ.get("PATH"))
        if path is None:
            continue
        path = os.path.abspath(path)
        try:
            answer = subprocess.run([path] if system == "Windows" else [path, "--version"],
                                    capture_output=True, timeout=60, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            problem = f"{path} does not run ({error})"
            continue
        text = (answer.stdout + answer.stderr).decode("utf-8", "replace")
        if answer.returncode and system != "Windows":
            problem = f"{path} --version fails: {text.strip().splitlines()[-1:] or '?'}"
            continue
        version = text.strip().splitlines()[0] if text.strip() else "unknown"
        return Compiler(kind(path), path, version, _stamp(path)), None
    return None, problem


def kind(path: str) -> str:
    """The compiler family as Jittor tells it from the file's name."""
    name = os.path.basename(path)
    for part in ("clang", "g++"):
        if part in name:
            return part
    return "cl"


def _names(system: str, environ: Mapping[str, str]) -> list[str]:
    if system == "Windows":
        return ["cl.exe"]
    named = environ.get("CXX", "")
    usual = ["clang++"] if system == "Darwin" else ["g++"]
    # Jittor tells the family from the name; an unknown one ("c++", "ccache g++") breaks it.
    known = "clang++" in named if system == "Darwin" else "g++" in os.path.basename(named)
    return ([named] if known and " " not in named else []) + usual


def _stamp(path: str) -> str:
    try:
        found = os.stat(path)
    except OSError:
        return ""
    return f"{found.st_size}-{int(found.st_mtime)}"
