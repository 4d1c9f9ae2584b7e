"""Finds oneDNN in its Python packages.

Jittor 1.3 is written for oneDNN 2.x and wants it below its cache folder, or downloads it while
being imported. The packages pinned in pyproject.toml bring it for x86-64 Linux and Windows. For
aarch64 Linux the package jittor_offline carries the archive that Jittor would download. For
macOS nothing installable is known; ``RESTORE_ONEDNN`` may name a folder with ``include`` and
``lib`` of a oneDNN 2.x built by the user.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata

PACKAGES = {("Linux", "x86_64"): ("onednn-cpu-gomp", "onednn-devel-cpu-gomp"),
            ("Windows", "AMD64"): ("onednn-cpu-vcomp", "onednn-devel-cpu-vcomp")}
PINNED = "2022.2.1"
OFFLINE = "jittor_offline==0.0.7"
_ARCHIVES = {("Linux", "aarch64"): "dnnl_lnx_2.2.0_cpu_gomp_aarch64.tgz"}
_LIBRARIES = ("libdnnl.so.2", "dnnl.dll", "libdnnl.2.dylib")

# Where Jittor looks, below its mkl folder: (folder, places of the library).
LAYOUTS = {
    ("Linux", "x86_64"): ("dnnl_lnx_2.2.0_cpu_gomp", ("lib/libmkldnn.so", "lib/libdnnl.so.2")),
    ("Linux", "aarch64"): ("dnnl_lnx_2.2.0_cpu_gomp_aarch64",
                           ("lib/libmkldnn.so", "lib/libdnnl.so.2")),
    ("Windows", "AMD64"): ("dnnl_win_2.2.0_cpu_vcomp", ("bin/dnnl.dll",)),
    ("Darwin", "x86_64"): ("dnnl_mac_2.2.0_cpu_omp_x86_64",
                           ("lib/libmkldnn.dylib", "lib/libdnnl.2.dylib")),
    ("Darwin", "arm64"): ("dnnl_mac_2.2.0_cpu_omp_arm64",
                          ("lib/libmkldnn.dylib", "lib/libdnnl.2.dylib")),
}


@dataclass(frozen=True)
class OneDnn:
    """oneDNN as it was found.

    Either `library` and `headers` (pairs of a path below the include folder and the installed
    file) name its files, or `archive` names a .tgz that holds them.
    """

    version: str
    library: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    import_library: str | None = None
    archive: str | None = None


def find(system: str, machine: str, environ: Mapping[str, str]) -> OneDnn | None:
    """The oneDNN to use, or None when there is none or it is incomplete."""
    named = environ.get("RESTORE_ONEDNN")
    if named:
        return _from_files(f"in {named}", _walk(named))
    names = PACKAGES.get((system, machine))
    try:
        if names:
            runtime, devel = (metadata.distribution(name) for name in names)
            files = [*(runtime.files or ()), *(devel.files or ())]
            return _from_files(runtime.version,
                               [(file.parts, str(file.locate())) for file in files])
        archive = _ARCHIVES.get((system, machine))
        for file in metadata.distribution("jittor_offline").files or () if archive else ():
            if file.name == archive:
                return OneDnn("2.2.0", archive=os.path.abspath(str(file.locate())))
    except metadata.PackageNotFoundError:
        pass
    return None


def how_to_install(system: str, machine: str) -> str:
    """The command that installs oneDNN, or how to bring one's own."""
    names = PACKAGES.get((system, machine))
    if names:
        return "Type: pip install " + " ".join(f"{name}=={PINNED}" for name in names)
    if (system, machine) in _ARCHIVES:
        return f"Type: pip install {OFFLINE}"
    return "Set RESTORE_ONEDNN to a folder with include and lib of a oneDNN 2.x you have built"


def _walk(folder: str) -> list[tuple[tuple[str, ...], str]]:
    found = []
    for root, _, names in os.walk(folder):
        parts = () if root == folder else tuple(os.path.relpath(root, folder).split(os.sep))
        found += [((*parts, name), os.path.join(root, name)) for name in names]
    return found


def _from_files(version: str, files: list[tuple[tuple[str, ...], str]]) -> OneDnn | None:
    library = import_library = None
    headers = []
    for parts, path in files:
        path = os.path.abspath(path)
        if not os.path.isfile(path):
            continue
        if parts[-1] in _LIBRARIES:
            library = os.path.realpath(path)
        elif parts[-1] == "dnnl.lib":
            import_library = path
        elif "include" in parts:
            headers.append(("/".join(parts[parts.index("include") + 1:]), path))
    if library is None or not any(name == "dnnl.hpp" for name, _ in headers):
        return None
    return OneDnn(version, library, tuple(sorted(headers)), import_library)
