"""The rate of oneDNN's 3x3 convolutions on this CPU, to compare networks with."""

from __future__ import annotations

from restore_cli.nets.ops import onednn
from restore_cli.nets.ops.library import Library

ALGORITHMS = ("direct", "winograd")

_LIBRARY = Library("peak.cc", with_onednn=True)


def usable() -> bool:
    """Whether `rate` can run here."""
    return onednn.usable()


def rate(channels: int, size: tuple[int, int], algorithm: str, repeat: int = 5) -> float | None:
    """FLOP/s of a 3x3 convolution with as many input as output channels, without reorders.

    A multiply-add counts as two, nine of them a pixel and pair of channels for both algorithms,
    so that Winograd's, which does with fewer, may go beyond what the processor can multiply.

    Args:
        size: (height, width) of the map.
        algorithm: one of `ALGORITHMS`.
        repeat: runs, of which the fastest counts.

    Returns:
        None where oneDNN does not have the algorithm.
    """
    height, width = size
    made, = _LIBRARY.run("peak", [(1,)], [], channels=channels, height=height, width=width,
                         winograd=algorithm == "winograd", repeat=repeat)
    seconds = float(made.numpy()[0])
    return 2 * 9 * channels**2 * height * width / seconds if seconds else None
