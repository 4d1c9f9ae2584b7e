"""How restored frames are encoded: the codecs by name and the ffmpeg arguments they take."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from fractions import Fraction
from typing import Any

from restore_cli.errors import UsageError, did_you_mean
from restore_cli.media import video_color
from restore_cli.media.video_ffmpeg import scale_has
from restore_cli.media.video_model import Colour, VideoInfo

_YUV = {"420": "yuv420p", "422": "yuv422p", "444": "yuv444p"}
# Options of --ffmpeg-args that concern sound, subtitles or the container, not the picture.
_MUX_OPTIONS = ("-metadata", "-movflags", "-map_metadata", "-map_chapters", "-disposition",
                "-af", "-ac", "-ar", "-acodec", "-scodec", "-brand", "-cues", "-strict")


@dataclass(frozen=True)
class Codec:
    """One value of `--codec`.

    Attributes:
        encoder: ffmpeg's name.
        arguments: always given. Thread counts are fixed, because they change the result and a
            film may be continued on another machine.
        crf, best, worst: default quality and its limits, None when there is none to choose.
        depths: bits a sample it can hold.
        chromas: of the YUV layouts "420", "422" and "444", those it can hold.
        segment: container format of segments.
        even: 4:2:0 and 4:2:2 need even sides.
        lean: given for frames of more than `LARGE` pixels, so that fewer wait in the encoder. With
            those of x264 a photograph that moves came out 0.04 % larger.
        held: bytes a pixel that ffmpeg takes at its peak with 8 bits and 4:2:0, without and with
            `lean`; measured on 0.2 to 0.9 megapixels and rounded up.
    """

    encoder: str
    arguments: tuple[str, ...]
    crf: float | None
    best: float
    worst: float
    depths: tuple[int, ...]
    chromas: tuple[str, ...] = ("420", "422", "444")
    segment: str = "mov"
    even: bool = True
    lean: tuple[str, ...] = ()
    held: tuple[float, float] = (0, 0)


LARGE = 4_000_000
"""Pixels of a frame from which encoders look ahead less: x264 would hold 3 GB for 3840x2160."""

_FFMPEG = 80e6  # bytes of the program itself

CODECS = {
    "x264": Codec("libx264", ("-preset", "medium", "-threads", "6"), 16, 0, 51, (8, 10),
                  lean=("-x264-params", "rc-lookahead=1:sync-lookahead=0:sliced-threads=1:"
                        "bframes=1:ref=1"), held=(330, 90)),
    "x265": Codec("libx265", ("-preset", "medium", "-x265-params",
                              "log-level=warning:frame-threads=2"), 18, 0, 51, (8, 10, 12),
                  lean=("-x265-params", "log-level=warning:frame-threads=1:rc-lookahead=5:"
                        "bframes=3"), held=(300, 190)),
    "prores": Codec("prores_ks", ("-vendor", "apl0"), None, 0, 0, (10,), ("422", "444"),
                    even=False, held=(60, 60)),
    "ffv1": Codec("ffv1", ("-level", "3", "-slices", "16", "-slicecrc", "1", "-g", "1"),
                  None, 0, 0, (8, 10, 12, 16), segment="mp4", even=False, held=(90, 90)),
    "vp9": Codec("libvpx-vp9", ("-b:v", "0", "-row-mt", "1", "-threads", "4",
                                "-tile-columns", "2"),
                 22, 0, 63, (8, 10, 12), segment="mp4", even=False,
                 lean=("-lag-in-frames", "5"), held=(220, 110)),
}
# What goes through a pipe: no codec that the user could name.
RAW = "raw"
_RAW = Codec("rawvideo", (), None, 0, 0, (8, 10, 12, 16), segment="nut", even=False)


def codec_of(name: str) -> Codec:
    """The codec of this name, `RAW` included; KeyError for others."""
    return _RAW if name == RAW else CODECS[name]


@dataclass(frozen=True)
class Encoding:
    """Everything that decides how frames become a stream; equal for all segments of a film.

    Attributes:
        codec: a key of `CODECS`, or `RAW`.
        crf: quality, None for codecs without.
        width, height: of every frame.
        deep: frames are given as uint16, else uint8.
        pixel_format: ffmpeg's name of what is stored.
        time_base: seconds a tick of the times given.
        rate: average frames a second.
        aspect: width to height of a pixel, None when not stated.
        colour: description to write; `colour.used` is the matrix of the conversion.
        arguments: further ffmpeg arguments of the user for the picture.
    """

    codec: str
    crf: float | None
    width: int
    height: int
    deep: bool
    pixel_format: str
    time_base: Fraction
    rate: Fraction
    aspect: Fraction | None = None
    colour: Colour = Colour()
    arguments: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """The same as values that JSON can hold; see `from_record`."""
        found = asdict(self)
        for name in ("time_base", "rate", "aspect"):
            found[name] = None if found[name] is None else str(found[name])
        found["arguments"] = list(self.arguments)
        return found

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Encoding:
        """The encoding that `record` described."""
        values = {one.name: record[one.name] for one in fields(cls)}
        for name in ("time_base", "rate", "aspect"):
            values[name] = None if values[name] is None else Fraction(values[name])
        values["arguments"] = tuple(values["arguments"])
        values["colour"] = Colour(**values["colour"])
        return cls(**values)

    @property
    def large(self) -> bool:
        """Whether the encoder holds less than it would, for the size of the frames."""
        return self.width * self.height > LARGE

    @property
    def memory(self) -> int:
        """Bytes that ffmpeg takes at its peak; what `arguments` change about that is not known."""
        codec = codec_of(self.codec)
        wide = 2 if "444" in self.pixel_format or not self.pixel_format.startswith("yuv") else 1
        # ProRes is never anything else but 10 bits.
        deep = 1.7 if self.codec != "prores" and not _eight(self.pixel_format) else 1
        return int(_FFMPEG + codec.held[self.large] * wide * deep * self.width * self.height)

    def filters(self) -> str:
        """The filter chain from RGB to what is stored, the user's own filters first."""
        colour, rgb = self.colour, self.pixel_format.startswith(("gbr", "rgb", "bgr", "0"))
        matrix = video_color.MATRICES[colour.used]
        # Chroma sits left of its pixels, as decoders of these codecs assume.
        siting = ""
        if "420" in self.pixel_format:
            siting = (":out_chroma_loc=left" if scale_has("out_chroma_loc")
                      else ":out_h_chr_pos=0:out_v_chr_pos=128")
        scale = ("scale=flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp" + siting)
        tags = [f"color_primaries={video_color.PRIMARIES.get(colour.primaries, 'unknown')}",
                f"color_trc={video_color.TRANSFERS.get(colour.transfer, 'unknown')}"]
        if not rgb:
            scale += (f":out_color_matrix={matrix}"
                      f":out_range={'pc' if colour.range == 2 else 'tv'}")
            tags += [f"colorspace={video_color.MATRICES.get(colour.matrix, 'unknown')}",
                     f"range={video_color.RANGES.get(colour.range, 'unknown')}"]
        chain = [*_option_values(self.arguments, ("-vf", "-filter:v")), scale,
                 f"format={self.pixel_format}", "setparams=" + ":".join(tags)]
        if self.aspect is not None:
            chain.append(f"setsar={self.aspect.numerator}/{self.aspect.denominator}:max=65535")
        return ",".join(chain)

    def encoder_arguments(self) -> list[str]:
        """Arguments for ffmpeg's output, except the file."""
        codec = codec_of(self.codec)
        base = self.time_base
        found = ["-vf", self.filters(), "-fps_mode", "passthrough",
                 "-enc_time_base", f"{base.numerator}/{base.denominator}",
                 "-c:v", codec.encoder, *codec.arguments, *(codec.lean if self.large else ())]
        if self.codec == "prores":
            found += ["-profile:v", "4" if "444" in self.pixel_format else "3"]
        if self.crf is not None:
            found += ["-crf", f"{self.crf:g}"]
        return found + _without(self.arguments, ("-vf", "-filter:v"))


def choose(info: VideoInfo, width: int, height: int, *, codec: str = "x264",
           crf: float | None = None, pixel_format: str | None = None,
           arguments: tuple[str, ...] = ()) -> tuple[Encoding, tuple[str, ...]]:
    """The encoding for the restored form of a film.

    Depth and chroma layout stay those of the film as far as the codec has them.

    Args:
        info: the film.
        width, height: size of the restored frames.
        codec: a key of `CODECS`.
        crf: quality, None for the codec's default.
        pixel_format: ffmpeg's name of another pixel format.
        arguments: of the user, for the picture; see `split_arguments`.

    Returns:
        The encoding, and what could not be kept, one sentence each.

    Raises:
        UsageError: unknown codec, or a quality it does not have.
    """
    kind = codec_of(codec) if codec in (*CODECS, RAW) else None
    if kind is None:
        raise UsageError(f"--codec {codec} is unknown", hint=did_you_mean(codec, CODECS)
                         or "Use one of " + ", ".join(CODECS))
    if crf is not None and kind.crf is None:
        raise UsageError(f"--crf has no meaning for {codec}",
                         hint="Leave it out, or choose x264 or x265")
    if crf is not None and not kind.best <= crf <= kind.worst:
        raise UsageError(f"--crf {crf:g} is outside {kind.best:g} to {kind.worst:g}, "
                         f"the range of {codec}")
    notes: list[str] = []
    if pixel_format is None:
        pixel_format = _pixel_format(kind, codec, info, width, height, notes)
    colour = video_color.described(info.colour, width, height, rgb=info.chroma == "rgb")
    if codec in ("ffv1", "prores") and colour.range == 2 and pixel_format.startswith("yuv"):
        notes.append(f"full-range YUV is stored in limited range: {codec} does not say which "
                     "it is")
        colour = replace(colour, range=1)
    encoding = Encoding(
        codec=codec, crf=kind.crf if crf is None else crf, width=width, height=height,
        deep=info.deep, pixel_format=pixel_format, time_base=info.time_base,
        rate=info.rate or Fraction(25), aspect=info.sample_aspect,
        colour=colour, arguments=tuple(arguments))
    return encoding, tuple(notes)


def _pixel_format(kind: Codec, name: str, info: VideoInfo, width: int, height: int,
                  notes: list[str]) -> str:
    chroma = {"gray": "420", "rgb": "444"}.get(info.chroma, info.chroma)
    if chroma not in kind.chromas:
        chroma = next(one for one in kind.chromas if one > chroma)
    if kind.even and ((width % 2 and chroma != "444") or (height % 2 and chroma == "420")):
        notes.append(f"{name} needs even sides with 4:{chroma[1]}:{chroma[2]}, and this is "
                     f"{width}x{height}: stored with 4:4:4")
        chroma = "444"
    depth = next((one for one in kind.depths if one >= info.bits), kind.depths[-1])
    if depth < info.bits:
        notes.append(f"{name} holds {depth} bits a sample: rounded from {info.bits}")
    if info.chroma == "rgb" and name == "ffv1":
        return "bgr0" if depth == 8 else f"gbrp{depth}le"
    return _YUV[chroma] + (f"{depth}le" if depth > 8 else "")


def split_arguments(arguments: list[str] | tuple[str, ...]
                    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Divides the user's ffmpeg arguments into those for the picture and those for the rest.

    Options for sound and subtitles (``-c:a``, ``-b:a``, ...), metadata and the container go
    to the step that joins the streams, all others to the encoder.

    Raises:
        UsageError: an argument belongs to no option; a file name would be taken as an output.
    """
    picture: list[str] = []
    rest: list[str] = []
    place: list[str] | None = None
    for argument in arguments:
        if argument.startswith("-") and not _number(argument):
            name, _, stream = argument.partition(":")
            other = stream.startswith(("a", "s")) or name in _MUX_OPTIONS
            place = rest if other else picture
            place.append(argument)
        elif place is None:
            raise UsageError(f"--ffmpeg-args: {argument!r} belongs to no option",
                             hint='Write it as in --ffmpeg-args "-preset slow"')
        else:
            place.append(argument)
            place = None
    return tuple(picture), tuple(rest)


def _eight(pixel_format: str) -> bool:
    return not any(depth in pixel_format for depth in ("9", "10", "12", "14", "16"))


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _option_values(arguments: tuple[str, ...], names: tuple[str, ...]) -> list[str]:
    return [value for name, value in zip(arguments, arguments[1:]) if name in names]


def _without(arguments: tuple[str, ...], names: tuple[str, ...]) -> list[str]:
    kept: list[str] = []
    skip = False
    for argument in arguments:
        if not skip and argument not in names:
            kept.append(argument)
        skip = not skip and argument in names
    return kept
