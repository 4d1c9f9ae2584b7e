"""A make-believe machine to plan for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from restore_cli.runtime.compiler import Compiler
from restore_cli.runtime.environment import JITTOR
from restore_cli.runtime.facts import Facts, Folder, Python, candidates
from restore_cli.runtime.onednn import OneDnn

PYTHONS = {"Linux": "/opt/venv/bin/python", "Darwin": "/opt/venv/bin/python",
           "Windows": "C:\\venv\\Scripts\\python.exe"}
COMPILERS = {"Linux": Compiler("g++", "/usr/bin/g++", "12.2.0"),
             "Darwin": Compiler("clang", "/usr/bin/clang++", "15.0.0"),
             "Windows": Compiler("cl", "C:\\Program Files\\VC\\cl.exe", "19.29")}
HEADERS = (("dnnl.hpp", "/opt/venv/include/dnnl.hpp"),
           ("oneapi/dnnl/dnnl.hpp", "/opt/venv/include/oneapi/dnnl/dnnl.hpp"))


@pytest.fixture
def machine():
    """Makes `Facts` of a healthy machine, with the given fields changed.

    `folders` maps a path to a `Folder`, or to None for one that cannot be written; those not
    named are absent but can be made.
    """

    def make(system: str = "Linux", *, folders=None, **changes) -> Facts:
        windows = system == "Windows"
        cache = "C:\\Users\\ann\\AppData\\Local\\restore" if windows else "/home/ann/.cache/restore"
        facts = Facts(
            system=system, machine={"Windows": "AMD64", "Darwin": "arm64"}.get(system, "x86_64"),
            environ={}, cache=cache, temp="C:\\Temp" if windows else "/tmp", user="1000",
            python=Python(PYTHONS[system], (3, 11, 7), "/usr/include/python3.11",
                          ".cpython-311-x86_64-linux-gnu.so"),
            cpu="sse avx2", cores=4, memory=8 << 30, jittor="/opt/venv/lib/jittor",
            jittor_version=JITTOR, numpy_version="1.26.4", compiler=COMPILERS[system],
            onednn=None if system == "Darwin" else OneDnn(
                "2022.2.1", "/opt/venv/lib/libdnnl.so.2.6", HEADERS,
                "C:\\venv\\Library\\lib\\dnnl.lib" if windows else None))
        facts = replace(facts, **changes)
        fresh = Folder(exists=False, writable=True, free=10 << 30)
        found = dict.fromkeys([*candidates(facts.system, facts.machine, facts.environ,
                                           facts.cache, facts.temp, facts.user), facts.temp], fresh)
        for path, folder in (folders or {}).items():
            found[path] = folder or Folder(exists=True, writable=False, free=10 << 30)
        return replace(facts, folders=found)

    return make
