"""Virtual cameras: noise parameters that cover the range of real ones (LED, section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from restore_cli.errors import InputError, UsageError
from restore_cli.training.degradations.raw_noise_camera import Camera, Line

# Ranges over five measured cameras (Jin et al., ICCV 2023), low and high.
K_RANGE = (0.1, 30.0)
TUKEY = {"slope": (0.46210495986526035, 0.6558756156508007),
         "bias": (-0.09044499670414502, 1.5370438794284738),
         "sigma": (0.23920060971003035, 0.3888189465002228)}
GAUSSIAN = {"slope": (0.5407496082896145, 0.6771267783987617),
            "bias": (0.799410107756515, 2.079863926921898),
            "sigma": (0.21408231874600314, 0.26751211630129734)}
ROW = {"slope": (0.44829219631519307, 0.7292220505388829),
       "bias": (-1.7977103277112132, -0.5917002648887661),
       "sigma": (0.2321799439489326, 0.29428813016491145)}
LAMBDA = (-0.24285714285714288, 0.2)
BIAS_MEAN = (-1.9080039, 4.080531)
BIAS_SPREAD = (0.006866596, 3.0379589)
BIAS_ROWS = 16
_OVERLAP = 0.1


def virtual_cameras(count: int = 5, *, seed: int = 0) -> list[Camera]:
    """Made-up cameras from quiet to noisy.

    Camera i takes the place i / (count - 1) of every range at once, as LED's "coverage" does, so
    that the cameras differ as much as they can; a single one takes the middle. Only the tables of
    colour bias are drawn. A row of a table is one offset for all planes and a deviation of each;
    the deviations grow from row to row, with K. (LED's program lets them grow from camera to
    camera instead, by a slip of the index; tables of its files are taken as they are.)

    Args:
        count: number of cameras, 1 or more.
        seed: of the colour biases; equal seeds give equal cameras.

    Raises:
        UsageError: `count` below 1.
    """
    if count < 1:
        raise UsageError(f"at least one virtual camera is needed, not {count}")
    rng = np.random.default_rng((seed, count))
    places = split(count, (0.0, 1.0)) if count > 1 else np.array([0.5])
    return [_camera(index, float(place), rng) for index, place in enumerate(places)]


def _camera(index: int, place: float, rng: np.random.Generator) -> Camera:
    def at(span: tuple[float, float]) -> float:
        return span[0] + (span[1] - span[0]) * place

    def line(spans: Mapping[str, tuple[float, float]]) -> Line:
        return Line(*(at(spans[key]) for key in ("slope", "bias", "sigma")))

    spread = rng.uniform(*split_overlapping(BIAS_ROWS, BIAS_SPREAD, _OVERLAP).T)[:, None]
    table = (rng.uniform(*BIAS_MEAN, (BIAS_ROWS, 1))
             + spread * rng.standard_normal((BIAS_ROWS, 4)))
    return Camera(f"virtual-{index}", *K_RANGE, tukey=line(TUKEY), gaussian=line(GAUSSIAN),
                  row=line(ROW), lambdas=(at(LAMBDA),),
                  colour_bias=tuple(tuple(map(float, row)) for row in table))


def split(parts: int, span: tuple[float, float]) -> np.ndarray:
    """(parts,) places from one end of a range to the other, evenly; two or more parts."""
    return np.linspace(span[0], span[1], parts)


def split_overlapping(parts: int, span: tuple[float, float], overlap: float) -> np.ndarray:
    """(parts, 2) intervals as long together as a range, each overlapping the next by a share.

    They begin at zero, not at the range's low end, as in LED's program.
    """
    length = (span[1] - span[0]) / (parts * (1 - overlap) + overlap)
    starts = np.arange(parts) * length * (1 - overlap)
    return np.stack([starts, starts + length], axis=1)


def from_arrays(arrays: Mapping[str, np.ndarray], *,
                k_range: tuple[float, float] = K_RANGE) -> list[Camera]:
    """Virtual cameras as LED saves them beside its pretrained networks.

    Args:
        arrays: `tukey_lambdas`, `read_slopes`, `read_biases`, `read_sigmas`, `row_slopes`,
            `row_biases`, `row_sigmas` (N,) and `color_biases` (N, rows, 4). The read noise is a
            Tukey lambda one.
        k_range: of the system gain, which the file does not hold.

    Raises:
        InputError: an array is missing or of another shape.
    """
    found = {}
    for key in _KEYS + ("color_biases",):
        if key not in arrays:
            raise InputError(f"the virtual cameras have no '{key}'")
        found[key] = np.asarray(arrays[key], np.float64)
    count = len(found["tukey_lambdas"])
    table = found["color_biases"]
    if (any(found[key].shape != (count,) for key in _KEYS) or table.ndim != 3
            or table.shape[0] != count or table.shape[2] != 4):
        raise InputError("the arrays of the virtual cameras do not fit together")
    return [
        Camera(f"virtual-{i}", *k_range,
               tukey=Line(*(float(found[f"read_{of}"][i]) for of in _OF)),
               row=Line(*(float(found[f"row_{of}"][i]) for of in _OF)),
               lambdas=(float(found["tukey_lambdas"][i]),),
               colour_bias=tuple(tuple(map(float, row)) for row in table[i]))
        for i in range(count)
    ]


def to_arrays(cameras: Sequence[Camera]) -> dict[str, np.ndarray]:
    """The arrays that `from_arrays` takes, float32.

    Raises:
        InputError: a camera has no Tukey or row line, not one lambda, or tables of several sizes.
    """
    for camera in cameras:
        if camera.tukey is None or camera.row is None or len(camera.lambdas) != 1:
            raise InputError(f"camera '{camera.name}' is not a virtual one")
    if len({len(camera.colour_bias) for camera in cameras}) != 1:
        raise InputError("the tables of colour bias have different sizes")
    found = {"tukey_lambdas": [camera.lambdas[0] for camera in cameras],
             "color_biases": [camera.colour_bias for camera in cameras]}
    for plural, of in zip(_OF, ("slope", "bias", "sigma")):
        found[f"read_{plural}"] = [getattr(camera.tukey, of) for camera in cameras]
        found[f"row_{plural}"] = [getattr(camera.row, of) for camera in cameras]
    return {key: np.asarray(values, np.float32) for key, values in found.items()}


_OF = ("slopes", "biases", "sigmas")
_KEYS = ("tukey_lambdas", *(f"{part}_{of}" for part in ("read", "row") for of in _OF))
