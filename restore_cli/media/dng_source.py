"""What a DNG takes over from the camera's own file: EXIF, GPS, XMP and colour science.

Left out on purpose: the maker's note, whose offsets point into the old file (a DNG that vouches
for its note keeps it); digests, noise profile and linearisation table, which are no longer true;
bad-pixel lists, whose places count from the uncropped sensor.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from restore_cli.media import dng_tags as tag
from restore_cli.media import ifd, raw_tags

# What the main directory says about the picture: names, dates, rights, rating, XMP, IPTC.
_ABOUT = (tag.DESCRIPTION, tag.MAKE, tag.MODEL, tag.DATE_TIME, tag.ARTIST, tag.XMP, tag.RATING,
          tag.RATING_PERCENT, tag.COPYRIGHT, tag.IPTC, 0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F)
# EXIF of no use or no longer true: maker's note, component order, packing, size of the JPEG,
# interoperability, the pattern of the uncropped sensor.
_NOT_EXIF = (tag.MAKER_NOTE, 37121, 37122, 40962, 40963, ifd.INTEROP, 41730)

# Of an original DNG: camera names, matrices, colour profile, time codes of cinema cameras.
_COLOR = (tag.UNIQUE_MODEL, tag.LOCAL_MODEL, 50721, 50722, 50723, 50724, 50725, 50726,
          tag.ANALOG_BALANCE, 50732, 50734, tag.CAMERA_SERIAL, 50736, 50739, 50778, 50779,
          tag.ORIGINAL_NAME, 50831, 50832, 50833, 50834, 50879, 50931, 50932, 50936, 50937,
          50938, 50939, 50940, 50941, 50942, 50964, 50965, 50981, 50982, 51043, 51044, 51058,
          51081, 51105, 51107, 51108, 51109, 51110)
# The third illuminant came with DNG 1.6.
_COLOR_1_6 = (52529, 52530, 52531, 52532, 52533, 52534, 52535, 52537)
# Of the sensor's values: scale; of a mosaic only, how its greens differ and its filters blur.
_PICTURE = (tag.DEFAULT_SCALE, 50780)
_MOSAIC = (50733, 50737, 50738)
_CROP = (tag.CROP_ORIGIN, tag.CROP_SIZE, 51125)


@dataclass
class Source:
    """Entries for the new file, all little-endian.

    Attributes:
        about: of the main directory; `color`: the same, of an original DNG only.
        picture: of the directory that holds the sensor values.
        exif: EXIF entries; `gps`: the GPS directory.
        neutral: an original DNG's AsShotNeutral.
        exposure: an original DNG's BaselineExposure in stops.
        version: lowest DNG version (major, minor) that knows all entries.
        backward: lowest DNG version whose readers must not be turned away.
    """

    about: dict[int, ifd.Entry] = field(default_factory=dict)
    color: dict[int, ifd.Entry] = field(default_factory=dict)
    picture: dict[int, ifd.Entry] = field(default_factory=dict)
    exif: dict[int, ifd.Entry] = field(default_factory=dict)
    gps: ifd.Directory | None = None
    neutral: list[float] = field(default_factory=list)
    exposure: float = 0.0
    version: tuple[int, int] = (1, 4)
    backward: tuple[int, int] = (1, 1)


def take(tags: raw_tags.Tags, size: tuple[int, int], *, linear: bool) -> Source:
    """What can be taken over from a file with these tags; nothing when there are none.

    Args:
        size: (height, width) of the sensor values to be written; crop and corrections of an
            original DNG are kept only if they speak of this very area.
        linear: the values are demosaicked.
    """
    source = Source()
    if tags.main is None:
        return source
    main = ifd.reordered(tags.main, tag.ORDER)
    source.about = _kept(main, _ABOUT)
    if ifd.EXIF in tags.main.children:
        exif = ifd.reordered(tags.main.children[ifd.EXIF], tag.ORDER)
        source.exif = {key: entry for key, entry in exif.entries.items()
                       if key not in _NOT_EXIF and not _blank(entry)}
    if ifd.GPS in tags.main.children:
        source.gps = ifd.reordered(tags.main.children[ifd.GPS], tag.ORDER)
    if tags.is_dng:
        _of_dng(source, main, tags, size, linear)
    return source


def _of_dng(source: Source, main: ifd.Directory, tags: raw_tags.Tags, size: tuple[int, int],
            linear: bool) -> None:
    source.color = _kept(main, _COLOR)
    newer = _kept(main, _COLOR_1_6)
    if newer:
        source.color.update(newer)
        source.version = (1, 6)
    source.neutral = [float(value) for value in main.numbers(tag.NEUTRAL)]
    source.exposure = float(next(iter(main.numbers(tag.BASELINE_EXPOSURE)), 0.0))
    # The specification has private data hold no offsets into the file.
    source.color.update(_kept(main, (tag.PRIVATE,)))
    _keep_safe_note(source, main, tags)
    picture = next((ifd.reordered(place, tag.ORDER) for place in tags.directories
                    if place.numbers(tag.PHOTOMETRIC) == [tag.CFA]
                    and place.numbers(tag.SUBFILE_TYPE) in ([0], [])), None)
    if picture is None:
        return
    source.picture = _kept(picture, _PICTURE + (() if linear else _MOSAIC))
    if _active_size(picture) != size:
        return
    source.picture.update(_kept(picture, _CROP))
    # List 2 works on the mosaic, list 3 on demosaicked colours (lens corrections).
    lists = _kept(picture, (tag.OPCODES_3,) if linear else (tag.OPCODES_2, tag.OPCODES_3))
    if lists:
        source.picture.update(lists)
        source.backward = (1, 3)


def _keep_safe_note(source: Source, main: ifd.Directory, tags: raw_tags.Tags) -> None:
    exif = tags.main.children.get(ifd.EXIF)
    # The note's bytes have an order of their own, so they are not turned.
    note = exif.entries.get(tag.MAKER_NOTE) if exif else None
    if note is not None and main.numbers(tag.NOTE_SAFETY) == [1]:
        source.exif[tag.MAKER_NOTE] = tag.undefined(note.value)
        source.color[tag.NOTE_SAFETY] = tag.short(1)


def _active_size(picture: ifd.Directory) -> tuple[int, int] | None:
    area = picture.numbers(tag.ACTIVE_AREA)
    if len(area) == 4:
        return int(area[2] - area[0]), int(area[3] - area[1])
    width, height = picture.numbers(tag.WIDTH), picture.numbers(tag.HEIGHT)
    return (int(height[0]), int(width[0])) if width and height else None


def _kept(place: ifd.Directory, wanted: tuple[int, ...]) -> dict[int, ifd.Entry]:
    """The wanted entries but empty texts and fractions over zero, which make readers stumble."""
    found = {}
    for key in wanted:
        entry = place.entries.get(key)
        if entry is None or _blank(entry):
            continue
        if entry.type in (5, 10) and any(not any(entry.value[at:at + 4])
                                         for at in range(4, len(entry.value), 8)):
            continue
        found[key] = entry
    return found


def _blank(entry: ifd.Entry) -> bool:
    return entry.type == 2 and not entry.value.strip(b"\0 ")
