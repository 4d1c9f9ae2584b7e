"""Stacks that the tests make, and ways to compare them."""

from __future__ import annotations

import made
import numpy as np
import tifffile

from restore_cli.media.stacks import create_stack, open_stack

GREY = dict(photometric="minisblack")
PLAIN = dict(photometric="minisblack", metadata=None)
SIZES = {"S": 3, "C": 2, "T": 4, "Z": 5, "H": 3, "Y": 32, "X": 48}
OME = """<?xml version="1.0" encoding="UTF-8"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{own}">
<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="8" SizeY="9"
 SizeZ="4" SizeC="1" SizeT="1" PhysicalSizeZ="0.7"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>
<TiffData FirstZ="0" IFD="0" PlaneCount="2"><UUID FileName="one.tif">urn:uuid:1</UUID></TiffData>
<TiffData FirstZ="2" IFD="0" PlaneCount="2"><UUID FileName="two.tif">urn:uuid:2</UUID></TiffData>
</Pixels></Image></OME>"""


def values(shape, dtype="uint16", seed=0):
    """Random samples of an array of any shape."""
    return made.noise(dtype, 1, shape, seed)[..., 0]


def saved(folder, array, name="a.tif", **options):
    path = folder / name
    tifffile.imwrite(path, array, **options)
    return path


def as_array(stack):
    """The whole stack in its own axes, put together plane by plane."""
    out = np.empty(stack.shape, stack.dtype)
    for number, plane in enumerate(stack.planes()):
        assert plane.flags.c_contiguous and plane.flags.writeable and plane.dtype.isnative
        out[stack.plan.key(stack.plan.where(number))] = stack.plan.restore(plane)
    return out


def copied(source, target, axes=None, dtype=None, order=None):
    """Writes all planes of a stack to another file; returns the writer's notes."""
    with open_stack(source, axes) as stack:
        numbers = list(range(stack.count))
        if order:
            order.shuffle(numbers)
        with create_stack(target, stack, dtype, overwrite=True) as writer:
            for number in numbers:
                writer.write(number, stack.plane(number).astype(writer.dtype))
    return writer.notes


def same_file(source, target):
    """Compares two TIFFs through tifffile: samples, axes, kind and storage."""
    with tifffile.TiffFile(source) as old, tifffile.TiffFile(target) as new:
        one, two = old.series[0], new.series[0]
        assert two.axes == one.axes and two.shape == one.shape and two.dtype == one.dtype
        assert np.array_equal(two.asarray(), one.asarray())
        assert (two.kind == one.kind) or {two.kind, one.kind} == {"uniform", "generic"}
        assert old.is_imagej == new.is_imagej and old.is_ome == new.is_ome
        first, other = old.pages[0], new.pages[0]
        for name in ("compression", "photometric", "planarconfig", "samplesperpixel",
                     "extrasamples", "predictor", "bitspersample", "sampleformat"):
            assert getattr(first, name) == getattr(other, name), name
        assert old.byteorder == new.byteorder and old.is_bigtiff == new.is_bigtiff
