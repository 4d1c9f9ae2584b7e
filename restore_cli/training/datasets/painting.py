"""Paints one generated scene: layers of occluding shapes, strokes and textures."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from restore_cli.training.datasets import shapes, textures

_TEXTURED_FROM = 9.0  # px; smaller shapes are one flat colour


class Painter:
    """A canvas and the palette it is painted with.

    Outlines and strokes are drawn at twice the canvas' resolution and averaged down, so their
    edges are antialiased already on the canvas.

    Args:
        size: side of the square canvas in pixels.
        palette: float32 (n, 3) colours in 0..255.
        rng: source of all random draws.
    """

    def __init__(self, size: int, palette: np.ndarray, rng: np.random.Generator):
        self.size = size
        self.palette = palette
        self.rng = rng
        self.image = Image.fromarray(self._surface(size, size))

    def leaves(self, coverage: float) -> None:
        """Shapes of power-law size, each over the ones before, until their areas sum to
        `coverage` times the canvas (or there are 1200)."""
        rng, size = self.rng, self.size
        exponent = rng.uniform(1.0, 2.3)
        smallest = np.exp(rng.uniform(np.log(2.0), np.log(36.0)))
        largest = size * rng.uniform(0.15, 0.55)
        low, high = smallest ** -exponent, largest ** -exponent
        radii = (high + (low - high) * rng.random(1200)) ** (-1 / exponent)
        count = int(np.searchsorted(np.cumsum(2.0 * radii ** 2), coverage * size * size)) + 1
        places = rng.uniform(0, size, (len(radii), 2))
        for radius, place in zip(radii[:count], places[:count], strict=True):
            self.leaf(float(radius), place)

    def leaf(self, radius: float, place: np.ndarray) -> None:
        """One shape with its centre at `place` (x, y)."""
        points = shapes.outline(radius, self.rng) + place
        box = self._clip(points)
        if box is None:
            return
        x0, y0, x1, y1 = box
        mask = Image.new("L", (2 * (x1 - x0), 2 * (y1 - y0)))
        ImageDraw.Draw(mask).polygon(_flat((points - (x0, y0)) * 2), fill=255)
        mask = mask.reduce(2)
        if radius < _TEXTURED_FROM:
            self.image.paste(self._ink(), box, mask)
        else:
            self.image.paste(Image.fromarray(self._surface(y1 - y0, x1 - x0)), box, mask)

    def strokes(self, lines: list[np.ndarray] | np.ndarray, place: np.ndarray,
                colours: np.ndarray, widths: np.ndarray) -> None:
        """Open lines around `place`.

        Args:
            lines: (n, 2) points each, in canvas pixels relative to `place`.
            place: (x, y).
            colours: (len(lines), 3) in 0..255.
            widths: (len(lines),) in canvas pixels (half a pixel is the finest).
        """
        if not len(lines):
            return
        box = self._clip(np.concatenate(list(lines)) + place)
        if box is None:
            return
        x0, y0, x1, y1 = box
        # Enlarging by repetition and averaging down again leaves untouched pixels as they were.
        fine = self.image.crop(box).resize((2 * (x1 - x0), 2 * (y1 - y0)), Image.NEAREST)
        draw = ImageDraw.Draw(fine)
        origin = np.asarray(place) - (x0, y0)
        pens = np.maximum(1, np.rint(np.asarray(widths) * 2)).astype(int).tolist()
        inks = np.clip(colours, 0, 255).astype(np.uint8).tolist()
        for line, ink, pen in zip(lines, inks, pens, strict=True):
            draw.line(_flat((line + origin) * 2), fill=tuple(ink), width=pen,
                      joint="curve" if pen > 4 else None)
        self.image.paste(fine.reduce(2), box)

    def hair(self) -> None:
        """One to four bundles of thin strands in shades of two colours."""
        rng = self.rng
        length = self.size * rng.uniform(0.15, 0.8)
        spread = length * rng.uniform(0.03, 0.35)
        thickest = np.exp(rng.uniform(np.log(1.0), np.log(5.0)))
        dark, light = self._colour(), self._colour()
        if rng.random() < 0.6:  # hair of one head; otherwise anything in front of anything
            light = dark * rng.uniform(1.2, 2.0)
        place = rng.uniform(0, self.size, 2)
        for _ in range(int(rng.integers(1, 5))):
            count = int(rng.integers(30, 200))
            lines = shapes.bundle(count, length, spread, rng)
            mix = rng.beta(0.7, 0.7, (count, 1))
            colours = dark * mix + light * (1 - mix) + rng.normal(0, 8, (count, 1))
            self.strokes(lines, place, colours, rng.uniform(0.5, thickest, count))
            place = place + rng.normal(0, spread, 2)

    def plumage(self) -> None:
        """Some feathers side by side."""
        rng = self.rng
        place = rng.uniform(0, self.size, 2)
        step = rng.normal(0, self.size * 0.06, 2)
        length = self.size * rng.uniform(0.12, 0.5)
        pair = np.stack([self._colour(), self._colour()])
        for _ in range(int(rng.integers(1, 6))):
            lines = shapes.feather(length, rng)
            mix = np.linspace(0, 1, len(lines))[:, None]
            colours = pair[0] * mix + pair[1] * (1 - mix) + rng.normal(0, 14, (len(lines), 1))
            widths = np.full(len(lines), rng.uniform(0.6, 3.0))
            widths[-1] *= 2
            self.strokes(lines, place, colours, widths)
            place = place + step

    def text(self) -> None:
        """A few lines of invented letters."""
        rng = self.rng
        height = np.exp(rng.uniform(np.log(8.0), np.log(70.0)))
        columns = int(np.clip(rng.uniform(0.2, 1.0) * self.size / height, 2, 24))
        lines = shapes.glyphs(int(rng.integers(1, 6)), columns, height, rng)
        ink = np.broadcast_to(self._colour(), (len(lines), 3))
        pen = np.full(len(lines), max(0.5, height * rng.uniform(0.04, 0.16)))
        self.strokes(lines, rng.uniform(0, self.size, 2), ink, pen)

    def wires(self) -> None:
        """Thin straight or bent lines across the picture, sometimes parallel."""
        rng = self.rng
        count = int(rng.integers(1, 14))
        ends = rng.uniform(-0.1, 1.1, (count, 3, 2)) * self.size
        if rng.random() < 0.5:  # parallel: bars, fences, blinds, edges of buildings
            ends = ends[:1] + np.arange(count)[:, None, None] * rng.normal(0, 12, 2)
        if rng.random() < 0.6:
            ends[:, 1] = (ends[:, 0] + ends[:, 2]) / 2
        ink = np.broadcast_to(self._colour(), (count, 3)) + rng.normal(0, 10, (count, 1))
        pen = np.exp(rng.uniform(np.log(0.5), np.log(6.0), count if rng.random() < 0.5 else 1))
        self.strokes(shapes.bezier(ends, 16), np.zeros(2), ink, np.broadcast_to(pen, (count,)))

    def defocus(self, radius: float) -> None:
        """Blur everything painted so far, as if behind the plane of focus."""
        if self.rng.random() < 0.5:
            self.image = self.image.filter(ImageFilter.GaussianBlur(radius))
        else:  # twice a box is close to the round disc of a lens
            self.image = self.image.filter(ImageFilter.BoxBlur(radius)).filter(
                ImageFilter.BoxBlur(radius * 0.6))

    def light(self) -> None:
        """Slow changes of brightness over the whole canvas."""
        pixels = np.asarray(self.image, np.float32)
        field = textures.shading(self.size, self.size, self.rng)
        gain = 1 + self.rng.uniform(0.1, 0.5) * field
        self.image = Image.fromarray(_bytes(pixels * gain[..., None]))

    def grain(self, sigma: float) -> None:
        """Independent noise on every canvas pixel."""
        shape = (self.size, self.size, 3 if self.rng.random() < 0.5 else 1)
        noise = self.rng.standard_normal(shape, dtype=np.float32) * np.float32(sigma)
        self.image = Image.fromarray(_bytes(np.asarray(self.image, np.float32) + noise))

    def _colour(self) -> np.ndarray:
        base = self.palette[self.rng.integers(len(self.palette))]
        return np.clip(base + self.rng.normal(0, 6, 3), 0, 255)

    def _ink(self) -> tuple[int, int, int]:
        return tuple(int(value) for value in self._colour())

    def _surface(self, height: int, width: int) -> np.ndarray:
        """Pixels uint8 (height, width, 3): a colour, maybe shaded, textured and grainy."""
        rng = self.rng
        base = self._colour().astype(np.float32)
        kind = rng.random()
        if kind < 0.12:
            return np.broadcast_to(base.astype(np.uint8), (height, width, 3)).copy()
        pixels = np.broadcast_to(base, (height, width, 3))
        if kind < 0.75:
            other = self._colour() if rng.random() < 0.4 else base * rng.uniform(0.4, 1.6)
            field = textures.shading(height, width, rng)[..., None]
            pixels = pixels + (0.5 * field) * (other - base).astype(np.float32)
        if kind > 0.40:
            field = textures.any_texture(height, width, rng)[..., None]
            if rng.random() < 0.5:  # between two colours
                pixels = pixels + (0.5 * field) * (self._colour() - base).astype(np.float32)
            else:  # in brightness, with a little colour
                depth = np.exp(rng.uniform(np.log(4), np.log(70))) * rng.uniform(0.7, 1, 3)
                pixels = pixels + field * depth.astype(np.float32)
            if rng.random() < 0.25:
                field = textures.any_texture(height, width, rng)[..., None]
                pixels = pixels + field * np.float32(rng.uniform(3, 20))
        return _bytes(pixels)

    def _clip(self, points: np.ndarray) -> tuple[int, int, int, int] | None:
        """The bounding box of the points inside the canvas, or None outside it."""
        x0, y0 = np.floor(points.min(0)).astype(int) - 3
        x1, y1 = np.ceil(points.max(0)).astype(int) + 4
        x0, y0 = max(0, int(x0)), max(0, int(y0))
        x1, y1 = min(self.size, int(x1)), min(self.size, int(y1))
        return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None


def _flat(points: np.ndarray) -> list[float]:
    return points.ravel().tolist()


def _bytes(pixels: np.ndarray) -> np.ndarray:
    return np.clip(pixels + np.float32(0.5), 0, 255).astype(np.uint8)
