"""How our own operators reach the oneDNN that Jittor has loaded."""

from __future__ import annotations

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
            if (home / "include" / "dnnl.hpp").exists() or (home / "include").is_symlink():
                name = "dnnl" if (home / "bin" / "dnnl.dll").exists() else "mkldnn"
                return {f'FLAGS: -I"{home}/include" -L"{home}/lib" -l{name} ': 1}
    return None


def usable() -> bool:
    """Whether operators written for oneDNN can run now: CPU, and oneDNN found."""
    return not jt.flags.use_cuda and compile_options() is not None
