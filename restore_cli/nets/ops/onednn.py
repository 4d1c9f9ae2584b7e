"""How our own operators reach the oneDNN that Jittor has loaded."""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

import jittor as jt


@lru_cache(maxsize=1)
def compile_flags() -> tuple[str, ...] | None:
    """What compiles and links against it, or None without oneDNN on the CPU."""
    from jittor import compile_extern

    if getattr(compile_extern, "mkl_ops", None) is None:
        return None
    for folder in Path(jt.flags.cache_path).parents:
        for home in sorted(folder.glob("mkl/dnnl*")):
            if (home / "include" / "dnnl.hpp").exists():
                return f"-I{home}/include", f"-L{home}/lib", "-lmkldnn"
    return None


def usable() -> bool:
    """Whether operators written for oneDNN can run now: CPU, GCC or Clang, and oneDNN found."""
    return not jt.flags.use_cuda and sys.platform != "win32" and compile_flags() is not None
