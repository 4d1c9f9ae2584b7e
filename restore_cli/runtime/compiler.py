"""Finds the C++ compiler that Jittor builds its kernels with, and says how to get one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler: its kind as Jittor names it (g++, clang, cl), absolute path, version.

    `stamp` changes when the file does, so that an upgrade is noticed.
    """

    kind: str
    path: str
    version: str
    stamp: str = ""


def find(system: str, environ: Mapping[str, str]) -> tuple[Compiler | None, str | None]:
    """The compiler to use, or None and why the one that was found does not serve.

    On Linux and macOS ``CXX`` is asked first if Jittor knows its kind by the name, then the
    usual name; each is run once to see that it works. On Windows it is cl.exe, which works only
    inside a developer command prompt, where INCLUDE and LIB are set.
    """
    problem = None
    for name in _names(system, environ):
        path = shutil.which(name, path=environ.get("PATH"))
        if path is None:
            continue
        path = os.path.abspath(path)
        try:
            answer = subprocess.run([path] if system == "Windows" else [path, "--version"],
                                    stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
                                    check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            problem = f"the compiler {path} does not run ({error})"
            continue
        lines = (answer.stdout + answer.stderr).decode("utf-8", "replace").strip().splitlines()
        # macOS has a clang++ that only says how to install the real one; its status tells.
        if answer.returncode and system != "Windows":
            problem = f"the compiler {path} does not run ({lines[-1] if lines else 'no message'})"
            continue
        if system == "Windows" and not (environ.get("INCLUDE") and environ.get("LIB")):
            problem = "cl.exe is there, but not its folders of headers and libraries"
            continue
        return Compiler(kind(path), path, lines[0] if lines else "unknown", _stamp(path)), None
    return None, problem


def kind(path: str) -> str:
    """The compiler family as Jittor tells it from the file's name: clang, g++ or cl."""
    name = os.path.basename(path)
    return next((family for family in ("clang", "g++") if family in name), "cl")


def how_to_install(system: str, distribution: Mapping[str, str], *,
                   headers_for: tuple[int, int] | None = None) -> str:
    """The command that installs a C++ compiler, or Python's headers, on this platform.

    Args:
        system: as `platform.system()` says.
        distribution: fields of /etc/os-release; may be empty.
        headers_for: a Python version: its headers are asked for instead of a compiler.
    """
    if system == "Darwin":
        return "Type: xcode-select --install"
    if system == "Windows":
        if headers_for:
            return "Install Python again from python.org, with its development files"
        return ("Type: winget install Microsoft.VisualStudio.2022.BuildTools --override "
                "\"--add Microsoft.VisualStudio.Workload.VCTools --includeRecommended --passive\" "
                "and start restore from the \"x64 Native Tools Command Prompt\"")
    names = [distribution.get("ID", ""), *distribution.get("ID_LIKE", "").split()]
    for manager, distributions, compiler, headers in _MANAGERS:
        if any(name in distributions for name in names):
            package = headers.format(*headers_for) if headers_for else compiler
            return f"Type: {manager} {package}"
    what = "the development files (headers) of Python {}.{}".format(*headers_for) \
        if headers_for else "g++ (the C++ compiler of GCC)"
    return f"Install {what} with your system's package manager"


# Package manager, distributions that use it, the compiler's package, the headers' package.
_MANAGERS = (
    ("sudo apt install", ("debian", "ubuntu"), "g++", "python{}.{}-dev"),
    ("sudo dnf install", ("fedora", "rhel", "centos"), "gcc-c++", "python{}.{}-devel"),
    ("sudo pacman -S", ("arch",), "gcc", "python"),
    ("sudo zypper install", ("suse", "opensuse"), "gcc-c++", "python{}{}-devel"),
    ("sudo apk add", ("alpine",), "g++", "python3-dev"),
)


def _names(system: str, environ: Mapping[str, str]) -> list[str]:
    if system == "Windows":
        return ["cl.exe"]
    usual = "clang++" if system == "Darwin" else "g++"
    # Jittor tells the family from the name: "c++" or "ccache g++" would confuse it.
    named = environ.get("CXX", "")
    fits = re.fullmatch(rf"(\S*[/-])?{re.escape(usual)}[-.0-9]*", named)
    return [named, usual] if fits else [usual]


def _stamp(path: str) -> str:
    try:
        found = os.stat(path)
    except OSError:
        return ""
    return f"{found.st_size}-{int(found.st_mtime)}"
