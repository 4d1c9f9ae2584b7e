"""What travels beside the pixels: colour profile, EXIF, resolution, text."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from restore_cli.media import exif as exif_block


@dataclass(frozen=True)
class Metadata:
    """Everything a file says about its picture that outlives processing.

    Attributes:
        icc: colour profile of the pixels; None means sRGB or unknown.
        exif: EXIF starting at its byte-order mark ("II" or "MM"), orientation 1.
        dpi: pixels an inch, (x, y).
        text: words by keyword ("Description", "Author", "Copyright", "Comment", ...).
        xmp: XMP packet.
        chunks: PNG chunks kept as they are, by name (gAMA, cHRM, sRGB, cICP).
    """

    icc: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    text: dict[str, str] = field(default_factory=dict)
    xmp: bytes | None = None
    chunks: dict[str, bytes] = field(default_factory=dict)

    def scaled(self, factor: float | tuple[float, float],
               size: tuple[int, int] | None = None) -> Metadata:
        """Metadata of the picture resized by `factor`, with its printed size unchanged.

        Args:
            factor: new pixels per old pixel, one number or (x, y).
            size: the new (width, height) for the tags that state it.
        """
        x, y = factor if isinstance(factor, tuple) else (factor, factor)
        dpi = (self.dpi[0] * x, self.dpi[1] * y) if self.dpi else None
        exif = exif_block.scaled(self.exif, x, y, size) if self.exif else None
        return replace(self, dpi=dpi, exif=exif)

    def upright(self) -> tuple[Metadata, int]:
        """Metadata that says "not rotated", and the EXIF orientation (1 to 8) it said before."""
        exif, orientation = exif_block.upright(self.exif) if self.exif else (b"", 1)
        xmp = _XMP_ORIENTATION.sub(rb"\g<1>1\g<2>", self.xmp) if self.xmp else None
        return replace(self, exif=exif or None, xmp=xmp), orientation


_XMP_ORIENTATION = re.compile(
    rb"(tiff:Orientation(?:\s*=\s*[\"']|>)\s*)[1-8](\s*(?:[\"']|</tiff:Orientation))")
