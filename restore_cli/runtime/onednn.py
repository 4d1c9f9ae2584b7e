"""Finds oneDNN in its Python packages and says how it must look for Jittor."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import metadata

# The only generation whose API Jittor 1.3 is written for is oneDNN 2.x.
PACKAGES = {"Linux": ("onednn-cpu-gomp", "onednn-devel-cpu-gomp"),
            "Windows": ("onednn-cpu-vcomp", "onednn-devel-cpu-vcomp")}


@dataclass(frozen=True)
class OneDnn:
    """oneDNN as its packages installed it: version, the libraries, and the headers.

    `headers` pairs a path below the include folder with the installed file.
    """

    version: str
    library: str
    headers: tuple[tuple[str, str], ...]
    import_library: str | None = None


def find(system: str) -> OneDnn | None:
    """oneDNN of the installed packages, or None when they are absent or incomplete."""
    names = PACKAGES.get(system)
    if names is None:
        return None
    try:
        runtime, devel = (metadata.distribution(name) for name in names)
    except metadata.PackageNotFoundError:
        return None
    files = [*(runtime.files or ()), *(devel.files or ())]
    library = import_library = None
    headers = []
    for file in files:
        located = os.path.abspath(str(file.locate()))
        if not os.path.isfile(located):
            continue
        parts = [part for part in file.parts if part not in ("..", ".")]
        if file.name in ("libdnnl.so.2", "dnnl.dll"):
            library = os.path.realpath(located)
        elif file.name == "dnnl.lib":
            import_library = located
        elif "include" in parts:
            headers.append(("/".join(parts[parts.index("include") + 1:]), located))
    if library is None or not any(name == "dnnl.hpp" for name, _ in headers):
        return None
    return OneDnn(runtime.version, library, tuple(sorted(headers)), import_library)
