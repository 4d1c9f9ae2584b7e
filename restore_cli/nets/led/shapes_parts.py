"""What the shape lists of the RAW denoising networks share: convolutions in their three forms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from restore_cli.errors import WeightsError

Shapes = dict[str, tuple[int, ...]]

FORM_DEFAULTS: dict[str, Any] = {"repnr": None, "folded": False}
REPNR_DEFAULTS: dict[str, Any] = {"branches": 5, "aux": False}


def convertible(shapes: Shapes, key: str, inputs: int, outputs: int, kernel: int, bias: bool,
                form: Mapping[str, Any]) -> None:
    """Adds a convolution that RepNR replaces, in the form that the configuration asks for.

    Args:
        form: a configuration with "repnr" and "folded" (see `complete_form`). In the folded form
            every such layer has a bias, because folding makes one.
    """
    weight = (outputs, inputs, kernel, kernel)
    repnr = form["repnr"]
    if repnr is None:
        plain(shapes, key, inputs, outputs, kernel, bias or form["folded"])
        return
    shapes[f"{key}.main_weight"] = weight
    if bias:
        shapes[f"{key}.main_bias"] = (outputs,)
    if repnr["aux"]:
        shapes[f"{key}.aux_weight"] = weight
        shapes[f"{key}.aux_bias"] = (outputs,)
    for part in ("align_weights", "align_biases"):
        for branch in range(repnr["branches"] + 1):
            shapes[f"{key}.{part}.{branch}"] = (1, inputs, 1, 1)


def plain(shapes: Shapes, key: str, inputs: int, outputs: int, kernel: int, bias: bool) -> None:
    """Adds a convolution that stays as it is; `inputs` is 1 for a depthwise one."""
    shapes[f"{key}.weight"] = (outputs, inputs, kernel, kernel)
    if bias:
        shapes[f"{key}.bias"] = (outputs,)


def complete_form(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """`config` with a complete "repnr" table (or None) and a checked "folded".

    Raises:
        WeightsError: an unknown option, or both forms at once.
    """
    made = dict(config)
    repnr, folded = made["repnr"], made["folded"]
    require(isinstance(folded, bool), name, "folded", folded, "true or false")
    if repnr is None:
        return made
    require(isinstance(repnr, Mapping) and not set(repnr) - set(REPNR_DEFAULTS), name, "repnr",
            repnr, "nothing or a table of branches and aux")
    require(not folded, name, "folded", folded, "false with repnr")
    made["repnr"] = {**REPNR_DEFAULTS, **repnr}
    require_count(name, "repnr.branches", made["repnr"]["branches"])
    aux = made["repnr"]["aux"]
    require(isinstance(aux, bool), name, "repnr.aux", aux, "true or false")
    return made


def require(holds: bool, name: str, key: str, value: Any, expected: str) -> None:
    """Refuses a value of a configuration.

    Raises:
        WeightsError: unless it `holds`; names network, option, value and what was expected.
    """
    if not holds:
        raise WeightsError(f"network '{name}' has {key} = {value!r}, expected {expected}")


def require_count(name: str, key: str, value: Any, least: int = 1) -> None:
    """Refuses what is not a whole number from `least`.

    Raises:
        WeightsError: names network, option and value.
    """
    require(_is_count(value, least), name, key, value, f"a whole number from {least}")


def require_counts(name: str, key: str, values: Any, length: int, least: int = 0) -> None:
    """Refuses what is not a list of `length` whole numbers from `least`.

    Raises:
        WeightsError: names network, option and value.
    """
    require(isinstance(values, (list, tuple)) and len(values) == length
            and all(_is_count(value, least) for value in values), name, key, values,
            f"a list of {length} whole numbers from {least}")


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
