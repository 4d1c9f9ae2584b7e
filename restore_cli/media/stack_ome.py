"""The text that tells a written stack's axes: the source's own, corrected, or a new one."""

from __future__ import annotations

import json
import logging
from xml.etree import ElementTree

import numpy as np

_NAMES = {"int8": "int8", "int16": "int16", "int32": "int32", "uint8": "uint8",
          "uint16": "uint16", "uint32": "uint32", "float32": "float", "float64": "double"}
_STALE = ("UUID",)
# They point to other images of the file, which the copy does not hold.
_GROUPS = ("Plate", "Screen", "Dataset", "Project", "Folder", "BinaryOnly")
_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'


def corrected(xml: str, frames: int, dtype: np.dtype, same_dtype: bool) -> str | None:
    """OME-XML of a source as it is right for a copy of its first image.

    The pages are in the order of the image's DimensionOrder, in one file. Everything that the
    instrument wrote stays; references to other files, images and the old sample type go.

    Args:
        frames: pages of the copy.
        same_dtype: whether the copy has the source's sample type.

    Returns:
        The text, or None when it cannot be corrected (broken, external, a type OME has not).
    """
    if dtype.name not in _NAMES:
        return None
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return None
    space = root.tag[:root.tag.index("}") + 1] if root.tag.startswith("{") else ""
    images = root.findall(space + "Image")
    pixels = images[0].find(space + "Pixels") if images else None
    if pixels is None:
        return None
    for image in images[1:]:
        root.remove(image)
    for group in _GROUPS if len(images) > 1 else ("BinaryOnly",):
        for element in root.findall(space + group):
            root.remove(element)
    for name in _STALE:
        root.attrib.pop(name, None)
    pixels.set("Type", _NAMES[dtype.name])
    if not same_dtype:
        pixels.attrib.pop("SignificantBits", None)
    children = list(pixels)
    places = [i for i, child in enumerate(children) if child.tag == space + "TiffData"]
    for child in children:
        if child.tag in (space + "TiffData", space + "BinData", space + "MetadataOnly"):
            pixels.remove(child)
    data = ElementTree.Element(space + "TiffData", IFD="0", PlaneCount=str(frames))
    channels = sum(1 for child in pixels if child.tag == space + "Channel")
    pixels.insert(min(places[0], len(pixels)) if places else channels, data)
    if space:
        ElementTree.register_namespace("", space[1:-1])
    return _DECLARATION + ElementTree.tostring(root, encoding="unicode")


def fresh(axes: str, shape: tuple[int, ...], dtype: np.dtype, samples_first: bool = False) -> str:
    """A description of a new file: OME-XML where OME can say it, else tifffile's JSON.

    Args:
        axes: outer axes, then S, Y, X or Y, X, S.
    """
    import tifffile

    sizes = dict(zip(axes, shape))
    samples = sizes.get("S", 1)
    pages = int(np.prod([size for letter, size in sizes.items() if letter not in "YXS"],
                        dtype=np.int64))
    stored = (pages, samples if samples_first else 1, 1, sizes["Y"], sizes["X"],
              1 if samples_first else samples)
    try:
        writer = tifffile.OmeXml()
        writer.addimage(dtype, shape, stored, axes=axes)
        return writer.tostring(declaration=True)
    except (tifffile.OmeXmlError, ValueError) as error:
        logging.getLogger(__name__).debug("no OME-XML for %s: %s", axes, error)
        return json.dumps({"shape": list(shape), "axes": axes})


def whole_shaped(text: str) -> str:
    """tifffile's JSON without the claim that all pages hang on one directory."""
    try:
        found = json.loads(text)
    except ValueError:
        return text
    if isinstance(found, dict) and found.pop("truncated", None):
        return json.dumps(found)
    return text
