"""How our own operators reach the oneDNN that Jittor has loaded."""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

import jittor as jt


@lru_cache(maxsize=1)
def compile_options() -> dict[str, int] | None:
    """Options for `jt.flag_scope(compile_options=...)`, or None without oneDNN on the CPU."""
    from jittor import compile_extern

    if getattr(compile_extern, "mkl_ops", None) is None:
        return None
    for folder in Path(jt.flags.cache_path).parents:
        for home in sorted(folder.glob("mkl/dnnl*")):
            if (home / "include" / "dnnl.hpp").exists():
                return {f'FLAGS: -I"{home}/include" -L"{home}/lib" -lmkldnn ': 1}
    return None


def usable() -> bool:
    """Whether operators written for oneDNN can run now: CPU, GCC or Clang, and oneDNN found."""
    return (not jt.flags.use_cuda and sys.platform != "win32"
            and compile_options() is not None)
