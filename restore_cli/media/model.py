"""What an image is in memory: samples with their meaning, and what came with them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from restore_cli.errors import ShapeError
from restore_cli.media.metadata import Metadata

KINDS = {1: "grey", 2: "grey+alpha", 3: "rgb", 4: "rgb+alpha"}
DEPTHS = {"uint8": 8, "uint16": 16, "float32": 32}


@dataclass
class Image:
    """One still picture.

    Attributes:
        pixels: (H, W, C) uint8, uint16 (full range) or float32 (nominally [0,1], but values
            outside are kept). Alpha, when there is one, is the last channel and not
            premultiplied. May be a read-only `numpy.memmap`.
        kind: "grey", "grey+alpha", "rgb" or "rgb+alpha"; follows from C when left out.
        metadata: profile, EXIF, resolution and text; orientation is already applied.
        format: the file format it was read from, such as "PNG", "JPEG", "TIFF", "WEBP", "JXL".
        bits: bits a sample had in the file (1 to 64); when left out, those of `pixels`.
        notes: what reading or converting changed or left out, one sentence each.

    Raises:
        ShapeError: `pixels` is not (H, W, 1 to 4), or `kind` disagrees with it.
        TypeError: `pixels` has another dtype.
    """

    pixels: np.ndarray
    kind: str = ""
    metadata: Metadata = field(default_factory=Metadata)
    format: str = "PNG"
    bits: int = 0
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if len(shape) != 3 or shape[2] not in KINDS or 0 in shape:
            raise ShapeError("pixels", "(H, W, 1 to 4) and not empty", shape)
        if self.pixels.dtype.name not in DEPTHS or not self.pixels.dtype.isnative:
            raise TypeError(f"pixels are {self.pixels.dtype.str}, expected native "
                            + ", ".join(DEPTHS))
        self.kind = self.kind or KINDS[shape[2]]
        if self.kind != KINDS[shape[2]]:
            raise ShapeError("pixels", f"(H, W, C) of kind {self.kind}", shape)
        self.bits = self.bits or DEPTHS[self.pixels.dtype.name]

    @property
    def height(self) -> int:
        """Rows."""
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        """Columns."""
        return self.pixels.shape[1]

    @property
    def has_alpha(self) -> bool:
        """Whether the last channel is opacity."""
        return self.pixels.shape[2] in (2, 4)

    @property
    def color(self) -> np.ndarray:
        """View of the channels without alpha: (H, W, 1) or (H, W, 3)."""
        return self.pixels[:, :, :-1] if self.has_alpha else self.pixels

    @property
    def alpha(self) -> np.ndarray | None:
        """View of the opacity, (H, W), or None."""
        return self.pixels[:, :, -1] if self.has_alpha else None

    def with_pixels(self, pixels: np.ndarray, *notes: str) -> Image:
        """The same picture with other samples; metadata follows a change of size.

        Args:
            pixels: (H', W', C') of any accepted dtype.
            notes: sentences to add to `notes`.
        """
        metadata = self.metadata
        if pixels.shape[:2] != self.pixels.shape[:2]:
            factor = (pixels.shape[1] / self.width, pixels.shape[0] / self.height)
            metadata = metadata.scaled(factor, size=(pixels.shape[1], pixels.shape[0]))
        same_depth = pixels.dtype == self.pixels.dtype
        return replace(self, pixels=pixels, kind="", metadata=metadata,
                       bits=self.bits if same_depth else 0, notes=self.notes + notes)
