"""What is known about a camera's noise: lines fitted against the system gain.

The physics-based model of Wei et al. (ELD; CVPR 2020, TPAMI 2021): the system gain K in DN (raw
levels) per electron grows with ISO, and the logarithms of the read and the row noise follow lines
in log K, with a Gaussian scatter around them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from restore_cli.errors import InputError

_PARTS = {"TukeyLambda": "tukey", "Gaussian": "gaussian", "Row": "row"}


@dataclass(frozen=True)
class Line:
    """A noise level in DN: log level = slope log K + bias, give or take `sigma`."""

    slope: float
    bias: float
    sigma: float

    def level(self, gain: float, normal: float = 0.0) -> float:
        """The level in DN at a system gain; `normal` is a standard normal draw of the scatter."""
        return math.exp(self.slope * math.log(gain) + self.bias + self.sigma * normal)


@dataclass(frozen=True)
class Camera:
    """One camera's noise, measured or made up.

    Attributes:
        name: of the camera.
        k_min, k_max: range of the system gain in DN per electron.
        tukey: scale of the read noise as a Tukey lambda distribution, or None if unknown.
        gaussian: standard deviation of the read noise as a Gaussian, or None.
        row: standard deviation of the noise that a row of the mosaic shares, or None.
        lambdas: shapes of the Tukey lambda distribution; one is drawn for an image.
        colour_bias: rows of mean offsets in DN of the planes R, G1, B, G2, for equal parts of
            the range of K; may be empty.
    """

    name: str
    k_min: float
    k_max: float
    tukey: Line | None = None
    gaussian: Line | None = None
    row: Line | None = None
    lambdas: tuple[float, ...] = ()
    colour_bias: tuple[tuple[float, ...], ...] = ()

    def gain(self, uniform: float) -> float:
        """The system gain at a place in 0..1 of its range, even in log K."""
        low, high = math.log(self.k_min), math.log(self.k_max)
        return math.exp(low + (high - low) * uniform)

    def bias_at(self, gain: float) -> np.ndarray:
        """(4,) float32 offsets in DN; the rows of the table divide K, not log K, evenly."""
        if not self.colour_bias:
            return np.zeros(4, np.float32)
        rows = len(self.colour_bias)
        step = (self.k_max - self.k_min) / rows
        row = int((gain - self.k_min) / step) if step > 0 else 0
        # A gain at or over either end of the range takes the outermost row.
        return np.asarray(self.colour_bias[min(max(row, 0), rows - 1)], np.float32)

    def to_dict(self) -> dict[str, Any]:
        """The parameters under upstream's names."""
        found: dict[str, Any] = {"Kmin": self.k_min, "Kmax": self.k_max}
        for key, part in _PARTS.items():
            line = getattr(self, part)
            if line is not None:
                found[key] = {"slope": line.slope, "bias": line.bias, "sigma": line.sigma}
        if self.tukey is not None:
            found["TukeyLambda"]["lambda"] = list(self.lambdas)
        if self.colour_bias:
            found["ColorBias"] = [list(row) for row in self.colour_bias]
        return found

    @classmethod
    def from_dict(cls, name: str, parameters: Mapping[str, Any], *,
                  path: str | Path | None = None) -> Camera:
        """A camera from parameters under upstream's names.

        Raises:
            InputError: a parameter is missing or makes no sense; `path` is named as the file.
        """
        def wrong(why: str) -> InputError:
            return InputError(f"camera '{name}': {why}", path=path,
                              hint="restore train led --calibrate writes such a file")

        def number(holder: Mapping[str, Any], key: str) -> float:
            value = holder.get(key)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise wrong(f"{key} is not a number")
            if not math.isfinite(value):
                raise wrong(f"{key} is not finite")
            return float(value)

        def numbers(values: Any, key: str) -> tuple[float, ...]:
            if not isinstance(values, Sequence) or isinstance(values, str) or not values:
                raise wrong(f"{key} is not a list of numbers")
            return tuple(number({key: value}, key) for value in values)

        if not isinstance(parameters, Mapping):
            raise wrong("not a table of parameters")
        low, high = number(parameters, "Kmin"), number(parameters, "Kmax")
        if not 0 < low <= high:
            raise wrong(f"the range of K is {low:g} to {high:g}")
        lines: dict[str, Line] = {}
        for key, part in _PARTS.items():
            held = parameters.get(key)
            if held is None:
                continue
            if not isinstance(held, Mapping):
                raise wrong(f"{key} is not a table of parameters")
            lines[part] = Line(*(number(held, of) for of in ("slope", "bias", "sigma")))
            if lines[part].sigma < 0:
                raise wrong(f"sigma of {key} is negative")
        lambdas = (numbers(parameters["TukeyLambda"].get("lambda"), "lambda")
                   if "tukey" in lines else ())
        if any(value <= -1 for value in lambdas):
            raise wrong("a Tukey lambda of -1 or less has no mean")
        table = parameters.get("ColorBias") or ()
        if not isinstance(table, Sequence) or isinstance(table, str):
            raise wrong("ColorBias is not a list")
        rows = tuple(numbers(row, "ColorBias") for row in table)
        if any(len(row) != 4 for row in rows):
            raise wrong("ColorBias does not have four planes")
        return cls(name, low, high, lambdas=lambdas, colour_bias=rows, **lines)

    def to_json(self) -> str:
        """The text of a camera file: {name: parameters}."""
        return json.dumps({self.name: self.to_dict()}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, *, path: str | Path | None = None) -> Camera:
        """The camera of a camera file that holds one.

        Raises:
            InputError: not such a file.
        """
        cameras = cameras_from_json(text, path=path)
        if len(cameras) != 1:
            raise InputError(f"holds {len(cameras)} cameras, not one", path=path)
        return cameras[0]


def cameras_from_json(text: str, *, path: str | Path | None = None) -> list[Camera]:
    """All cameras of a camera file, {name: parameters, ...}.

    Raises:
        InputError: not such a file, or an empty one.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InputError(f"is not JSON ({error})", path=path) from None
    if not isinstance(found, dict) or not found:
        raise InputError("holds no cameras", path=path,
                         hint="A camera file is JSON: {\"name\": {\"Kmin\": ...}}")
    return [Camera.from_dict(name, held, path=path) for name, held in found.items()]


def load_cameras(path: str | Path) -> list[Camera]:
    """The cameras of a file.

    Raises:
        InputError: it cannot be read or is no camera file.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", path=path) from None
    except UnicodeDecodeError:
        raise InputError("is not a text file", path=path) from None
    return cameras_from_json(text, path=path)


def _calibrated() -> dict[str, Camera]:
    folder = resources.files("restore_cli.training.degradations") / "cameras"
    found = [Camera.from_json((folder / f"{name}.json").read_text(encoding="utf-8"))
             for name in ("SonyA7S2", "NikonD850")]
    return {camera.name: camera for camera in found}


# Cameras measured by the authors of ELD (Wei et al.) and LED (Jin et al., ICCV 2023).
CALIBRATED: Mapping[str, Camera] = _calibrated()
