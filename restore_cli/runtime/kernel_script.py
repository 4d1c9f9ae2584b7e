"""The script that stands between Jittor and the compiler of its kernels."""

from __future__ import annotations

import shlex

# Jittor runs "python asm_tuner.py --cc_path=COMPILER SOURCE ..." for every kernel. What that tunes
# are hand-written kernels that are not used here, and it costs a quarter of the time; this script
# stands in for Python and goes straight to the compiler. It counts, in a file the engine names,
# and after the third kernel tells the terminal, if there is one, why nothing seems to happen.
#
# Two thirds of a kernel's time go into reading Jittor's headers, so GCC gets them precompiled: once
# for each compiler, Jittor and set of flags, all of which it has to find unchanged. They begin
# with the definition that kernels begin with. Where anything is amiss they are read as usual.
_SCRIPT = r"""#!/bin/sh
case "$1" in
*asm_tuner.py) shift;;
*) HOME="{base}" exec {python} "$@";;
esac
compiler="${{1#--cc_path=}}"
shift
if [ -n "$RESTORE_KERNEL_NOTE" ] && [ -f "$RESTORE_KERNEL_NOTE" ]; then
  printf . >> "$RESTORE_KERNEL_NOTE"
  if [ -n "$RESTORE_KERNEL_TERMINAL" ] && [ "$(wc -c < "$RESTORE_KERNEL_NOTE")" -eq 3 ]; then
    printf '\r\033[Kcompiling kernels for first use (once for each network) ...\n' \
      > "$RESTORE_KERNEL_TERMINAL"
  fi
fi
header=
case "$compiler" in
*clang*) ;;
*g++*) if grep -qs '^#define JIT 1$' "$1"; then
  core=
  flags=
  for flag; do
    case "$flag" in
    -I*) core="${{core:-$flag}}";;
    -Wl*) ;;
    -f*|-m*|-O*|-W*|-std*) flags="$flags $flag";;
    esac
  done
  sum=$(printf %s "$compiler $core $flags" | cksum)
  header="{base}/headers/${{sum%% *}}.h"
  if [ ! -f "$header" ]; then
    made="$header.$$.h"
    mkdir -p "{base}/headers" && cat > "$made" <<'END' &&
#define JIT 1
#include "var.h"
#include "fused_op.h"
#include "executor.h"
#include "ops/op_register.h"
#include <algorithm>
#include <cmath>
#include <limits>
END
    "$compiler" $flags "$core" -x c++-header "$made" -o "$made.gch" >/dev/null 2>&1 &&
    mv "$made.gch" "$header.gch" 2>/dev/null && mv "$made" "$header" || rm -f "$made" "$made.gch"
    [ -f "$header" ] || header=
  fi
fi;;
esac
output=$("$compiler" ${{header:+-include "$header"}} "$@" 2>&1) || {{
  status=$?
  printf '%s\n' "$output" | tee -a "{base}/compiler.log"
  exit $status
}}
"""


def text(python: str, base: str) -> str:
    """The script, for a shell.

    Args:
        python: path of the interpreter, for whatever else Jittor asks it to do.
        base: the folder Jittor takes for the home folder, without blanks and quotes; precompiled
            headers and the log of failures go there.
    """
    return _SCRIPT.format(python=shlex.quote(python), base=base)
