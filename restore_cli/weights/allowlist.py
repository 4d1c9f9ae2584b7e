"""The exact list of names a checkpoint may contain, and what stands in for each.

Everything here builds plain Python and NumPy values. Adding a name is a decision about
safety: the stand-in must do nothing but check and store.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from restore_cli.weights.pickle_reader import Allowed, Global, Refused
from restore_cli.weights.tensors import PLAIN, STORAGES, Budget, Tensor, size, view

_STORAGE_MODULES = ("torch", "torch.cuda", "torch.storage")
STORAGE_TYPES = {f"{module}.{name}": dtype
                 for module in _STORAGE_MODULES for name, dtype in STORAGES.items()}
TORCH_DTYPES = {f"torch.{dtype}": dtype for dtype in PLAIN}
_NUMPY = ("numpy.core", "numpy._core")
_DTYPE_CODE = re.compile(r"[<>=|]?(b1|\?|[iu][1248]|f[248]|c8|c16)")


class ArrayShell:
    """A NumPy array between its creation and its BUILD; `finished` turns it into the array."""

    def __init__(self) -> None:
        self.value: np.ndarray | None = None


class DtypeShell:
    """A NumPy dtype whose byte order the following BUILD may set."""

    def __init__(self, dtype: np.dtype):
        self.dtype = dtype


def allowlist(budget: Budget, persistent: Callable[[Any], Any] | None = None) -> Allowed:
    """The names allowed in torch and Jittor checkpoints.

    Args:
        budget: charged for whatever copies data.
        persistent: resolves torch's storage references; None where the format has none.
    """
    calls: dict[str, Callable[[tuple], Any]] = {
        "collections.OrderedDict": lambda args: _mapping(args, budget),
        "collections.Counter": lambda args: _mapping(args, budget),
        "builtins.set": lambda args: _set(args, budget),
        "__builtin__.set": lambda args: _set(args, budget),
        "builtins.bytes": _no_bytes,
        "__builtin__.bytes": _no_bytes,
        "_codecs.encode": lambda args: _encode(args, budget),
        "torch.Size": _torch_size,
        "torch.device": _device,
        "torch._utils._rebuild_tensor": _tensor,
        "torch._utils._rebuild_tensor_v2": _tensor,
        "torch._utils._rebuild_tensor_v3": _tensor_with_dtype,
        "torch._utils._rebuild_parameter": _parameter,
        "torch._utils._rebuild_parameter_with_state": _parameter,
        "numpy.dtype": _dtype,
        "jittor.Var": _jittor_var,
        "jittor.jittor_core.Var": _jittor_var,
        "jittor_core.Var": _jittor_var,
    }
    for core in _NUMPY:
        calls[f"{core}.multiarray._reconstruct"] = _reconstruct
        calls[f"{core}.multiarray.scalar"] = _scalar
        calls[f"{core}.numeric._frombuffer"] = _from_buffer
    names = frozenset({"numpy.ndarray", "torch.strided", *STORAGE_TYPES, *TORCH_DTYPES})
    builds = {dict: _ignore_attributes, ArrayShell: _build_array, DtypeShell: _build_dtype}
    return Allowed(calls, names, builds, persistent)


def finished(value: Any) -> Any:
    """The array inside an `ArrayShell`; any other value unchanged.

    Raises:
        Refused: the file never filled the array.
    """
    if isinstance(value, ArrayShell):
        if value.value is None:
            raise Refused("the pickle creates an array and never fills it")
        return value.value
    return value


def _mapping(args: tuple, budget: Budget) -> dict:
    if args == ():
        return {}
    if len(args) != 1 or not isinstance(args[0], (list, dict)):
        raise Refused("a dictionary is built from something that is no list")
    pairs = list(args[0].items()) if isinstance(args[0], dict) else args[0]
    budget.take(64 * len(pairs))
    made = {}
    for pair in pairs:
        if (not isinstance(pair, (list, tuple)) or len(pair) != 2
                or not isinstance(pair[0], (str, int))):
            raise Refused("a dictionary is built from something that is no pair")
        made[pair[0]] = pair[1]
    return made


def _set(args: tuple, budget: Budget) -> set:
    if len(args) != 1 or not isinstance(args[0], list):
        raise Refused("a set is built from something that is no list")
    budget.take(64 * len(args[0]))
    if not all(isinstance(item, (str, int, float)) for item in args[0]):
        raise Refused("a set holds something that is no number or text")
    return set(args[0])


def _no_bytes(args: tuple) -> bytes:
    # How protocol 2 spells b"" (any other bytes are encoded text).
    if args:
        raise Refused("the pickle makes bytes of something")
    return b""


def _encode(args: tuple, budget: Budget) -> bytes:
    # Protocol 2 stores bytes as Latin-1 text to be encoded again.
    if len(args) != 2 or not isinstance(args[0], str) or not _is(args[1], "latin1", "latin-1"):
        raise Refused("the pickle encodes something that is no Latin-1 text")
    budget.take(len(args[0]))
    try:
        return args[0].encode("latin-1")
    except UnicodeEncodeError as error:
        raise Refused("the pickle encodes something that is no Latin-1 text") from error


def _torch_size(args: tuple) -> tuple:
    if len(args) != 1 or not isinstance(args[0], (tuple, list)):
        raise Refused("a torch.Size holds no list")
    return tuple(size(side, "size") for side in args[0])


def _device(args: tuple) -> str:
    if not 1 <= len(args) <= 2 or not isinstance(args[0], str):
        raise Refused("a torch.device without a name")
    return args[0][:32]


def _tensor(args: tuple) -> Tensor:
    # storage, offset, size, stride[, requires_grad, hooks[, metadata]]
    if not 4 <= len(args) <= 7:
        raise Refused("a tensor is described by the wrong number of values")
    return view(*args[:4])


def _tensor_with_dtype(args: tuple) -> Tensor:
    if not 7 <= len(args) <= 8 or not isinstance(args[6], Global):
        raise Refused("a tensor is described by the wrong number of values")
    if args[6].name not in TORCH_DTYPES:
        raise Refused(f"a tensor has the type {args[6].name}")
    return view(*args[:4], dtype=TORCH_DTYPES[args[6].name])


def _parameter(args: tuple) -> Tensor:
    if not args or not isinstance(args[0], Tensor):
        raise Refused("a parameter without a tensor")
    return args[0]


def _jittor_var(args: tuple) -> Any:
    if len(args) != 1 or not isinstance(args[0], (ArrayShell, np.ndarray)):
        raise Refused("a Jittor variable without an array")
    return args[0]


def _dtype(args: tuple) -> DtypeShell:
    if not args or not isinstance(args[0], str) or not _DTYPE_CODE.fullmatch(args[0]):
        raise Refused("an array whose type is no plain number")
    return DtypeShell(np.dtype(args[0]))


def _build_dtype(target: DtypeShell, state: Any) -> None:
    # (version, byte order, subdtype, names, fields, size, alignment, flags)
    if (not isinstance(state, tuple) or len(state) < 5 or not _is(state[1], "<", ">", "|", "=")
            or any(part is not None for part in state[2:5])):
        raise Refused("an array whose type is no plain number")
    if state[1] in "<>":
        target.dtype = target.dtype.newbyteorder(state[1])


def _reconstruct(args: tuple) -> ArrayShell:
    if len(args) != 3 or not isinstance(args[0], Global) or args[0].name != "numpy.ndarray":
        raise Refused("an array of an unknown kind")
    return ArrayShell()


def _build_array(target: ArrayShell, state: Any) -> None:
    # (version, shape, dtype, fortran order, raw bytes)
    if (not isinstance(state, tuple) or len(state) != 5 or target.value is not None
            or not isinstance(state[3], int)):
        raise Refused("an array with an unknown description")
    target.value = _array(state[4], state[2], state[1], bool(state[3]))


def _from_buffer(args: tuple) -> np.ndarray:
    if len(args) != 4 or not _is(args[3], "C", "F"):
        raise Refused("an array with an unknown description")
    return _array(args[0], args[1], args[2], args[3] == "F")


def _scalar(args: tuple) -> Any:
    if len(args) != 2:
        raise Refused("a number with an unknown description")
    return _array(args[1], args[0], (), False).item()


def _array(raw: Any, dtype: Any, shape: Any, fortran: bool) -> np.ndarray:
    if isinstance(raw, str):  # Python 2's str, which happened to be ASCII
        raw = raw.encode("latin-1")
    if not isinstance(raw, bytes) or not isinstance(dtype, DtypeShell):
        raise Refused("an array without plain data")
    shape = _torch_size((shape,))
    count = 1
    for side in shape:
        count *= side
    if len(shape) > 16 or count * dtype.dtype.itemsize != len(raw):
        raise Refused(f"an array of {len(raw)} bytes claims the shape {shape[:16]}")
    return np.frombuffer(raw, dtype.dtype).reshape(shape, order="F" if fortran else "C")


def _is(value: Any, *words: str) -> bool:
    # Not `value in words`: comparing a NumPy array of the file with text is no yes or no.
    return isinstance(value, str) and value in words


def _ignore_attributes(target: dict, state: Any) -> None:
    """torch hangs `_metadata` on its state dicts; nothing we need."""
    if not isinstance(state, dict):
        raise Refused("a dictionary is given an unknown state")
