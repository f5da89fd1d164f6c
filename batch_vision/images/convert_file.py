"""A process of its own that converts one file: `python -m batch_vision.images.convert_file <what is asked>`.

A decoder that a hostile file makes hang, crash or eat memory takes nothing with it. It imports little, for it is
started for each image. Its standard input is the file, and its standard output one line of JSON: what was converted, or
why it cannot be. It fails only where that is not the image's fault.
"""

from __future__ import annotations

import io
import json
import math
import os
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import (  # the formats that are seen most; Pillow knows all others when it is asked for one
    AvifImagePlugin,
    ExifTags,
    Image,
    ImageOps,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from batch_vision.core.conversion import (
    FORMATS,
    MIB_BYTES,
    MOST_FUNCTION_MB,
    PROCESS_BYTES,
    Picture,
    Target,
    affordable_target,
    decoded_scale,
    in_eight_bits,
    is_heif,
    needed_bytes,
    shade_range,
    sides_of_less,
    sides_within,
    webp_sides_px,
)
from batch_vision.core.errors import (
    ConversionFailedError,
    ImageTooLargeError,
    InvalidImageFormatError,
    PermanentImageError,
)
from batch_vision.core.image_header import SIDEWAYS

if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = ["AvifImagePlugin", "TiffImagePlugin", "WebPImagePlugin", "convert"]

_START_BYTES = 64
_QUALITIES = (95, 90, 85, 80, 75)
_RESAMPLING = Image.Resampling.BICUBIC
_SUPPORT_PX = 2  # of that filter, in pixels of the smaller picture
_STRIP_PIXELS = 1024**2
_MOST_TOLD = 200
# Tags of TIFF 6.0 (bit 0: "a reduced-resolution version of another image in this TIFF file") and of DNG.
_SUBFILE_TYPE, _DNG_VERSION = 254, 50_706
_TIFF_NO_MEMORY = "decoder error -9"


def convert(
    source: BinaryIO, output: BinaryIO, target: Target, memory_bytes: int, others_bytes: int = 0
) -> dict[str, Any]:
    """Write the first picture of a file as a JPEG: upright, in RGB, what is transparent on white.

    Parameters
    ----------
    memory_bytes
        What there is for it.
    others_bytes
        What the function needs beside that, for a message.

    Returns
    -------
    dict
        What of the key ``converted`` of a result is known here.

    Raises
    ------
    InvalidImageFormatError
        It is in no format that is converted, or cannot be decoded.
    ImageTooLargeError
        It needs more memory; ``needed_bytes`` is how much, where that is known.
    """
    Image.MAX_IMAGE_PIXELS = None  # the memory is the limit
    image_format = ""
    try:
        size_bytes = source.seek(0, os.SEEK_END)
        source.seek(0)
        start = source.read(_START_BYTES)
        if sides := webp_sides_px(start):
            _scale_within(Picture("WEBP", "RGBA", *sides, size_bytes), target, memory_bytes, others_bytes)
        image = _opened(source, start)
        image_format = str(image.format)
        width_px, height_px = image.size
        picture = Picture(image_format, image.mode, width_px, height_px, size_bytes, _extra_pixel_bytes(image))
        scale, target = _scale_within(picture, target, memory_bytes, others_bytes)
        if scale > 1 and isinstance(image, Image.Image):
            image.draft(None, (max(1, width_px // scale), max(1, height_px // scale)))
        image.load()
        orientation = _orientation(image)
        made = _reduced(image, sides_within(*image.size, target.max_side_px))
        del image  # its memory, for the encoder
        made.getexif()[ExifTags.Base.Orientation] = orientation
        ImageOps.exif_transpose(made, in_place=True)
        content, (made_width_px, made_height_px) = _encoded(made, target.max_bytes)
    except (PermanentImageError, ImportError):
        raise
    except UnidentifiedImageError as error:
        raise InvalidImageFormatError("It is in no format that is converted.") from error
    except Exception as error:
        if isinstance(error, MemoryError) or "memory" in str(error).lower() or str(error) == _TIFF_NO_MEMORY:
            raise _no_memory(memory_bytes + others_bytes) from error
        kind = f" as {image_format}" if image_format else ""
        raise InvalidImageFormatError(f"It cannot be decoded{kind}: {_told(error)}") from error
    output.write(content)
    if orientation in SIDEWAYS:
        width_px, height_px = height_px, width_px
    return {
        "from_format": image_format,
        "from_width": width_px,
        "from_height": height_px,
        "to_format": "JPEG",
        "to_width": made_width_px,
        "to_height": made_height_px,
        "to_bytes": len(content),
    }


class HeifPicture:
    """The picture of a HEIF, as far as it is used as one of Pillow.

    Pillow has a strip of it at a time: all of it would take as much memory again as decoding it does.
    """

    format = "HEIF"

    def __init__(self, source: BinaryIO) -> None:
        import pi_heif  # here, for it takes as long as all else that is imported

        options = pi_heif.options
        options.DECODE_THREADS, options.THUMBNAILS, options.DEPTH_IMAGES, options.AUX_IMAGES = 1, False, False, False
        self._file = pi_heif.open_heif(source)
        self.mode: str = self._file.mode
        self.size: tuple[int, int] = self._file.size
        self.info: dict[str, Any] = {}

    @property
    def width(self) -> int:
        """In pixels, upright."""
        return self.size[0]

    @property
    def height(self) -> int:
        """In pixels, upright."""
        return self.size[1]

    def load(self) -> None:
        """Decode it."""
        self._rows = memoryview(self._file.data)
        self.size = self._file.size

    def crop(self, box: tuple[int, int, int, int]) -> Image.Image:
        """Return rows of it, in their whole width."""
        _, top, _, bottom = box
        stride = self._file.stride
        rows = bytes(self._rows[top * stride : bottom * stride])
        return Image.frombytes(self.mode, (self.width, bottom - top), rows, "raw", self.mode, stride)

    def getexif(self) -> dict[int, int]:
        """Return nothing: the decoder turns it upright, and what its Exif says does not count."""
        return {}


def _opened(source: BinaryIO, start: bytes) -> Image.Image | HeifPicture:
    if is_heif(start):
        return HeifPicture(source)
    image = Image.open(source, formats=FORMATS)
    if isinstance(image, TiffImagePlugin.TiffImageFile) and _is_raw(image, start):
        raise InvalidImageFormatError("It is a raw file of a camera, which is in no format that is converted.")
    return image


def _is_raw(image: TiffImagePlugin.TiffImageFile, start: bytes) -> bool:
    """Return whether a TIFF is what cameras make: its first picture is a small copy of one that nobody decodes here."""
    return bool(image.tag_v2.get(_SUBFILE_TYPE, 0) & 1) or _DNG_VERSION in image.tag_v2 or start[8:10] == b"CR"


def _extra_pixel_bytes(image: Any) -> float:
    """Return what the decoder holds for each pixel because the file is as it is."""
    if image.info.get("progressive") and getattr(image, "layer", None):
        # All coefficients, of 2 bytes, until the last scan is read.
        samples = [across * down for _, across, down, *_ in image.layer]
        return float(2 * sum(samples) / max(samples))
    if image.format == "TIFF":
        tags = image.tag_v2
        # Pillow turns it as it is decoded; a compressed one is decoded by strips, which may be of the whole picture.
        turned_bytes = 4.0 if tags.get(ExifTags.Base.Orientation, 1) != 1 else 0.0
        rows = tags.get(TiffImagePlugin.ROWSPERSTRIP, 0) if image.tile and image.tile[0].codec_name == "libtiff" else 0
        strip_share = min(1.0, rows / image.height)
        return float(max(turned_bytes, strip_share * sum(tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))) / 8))
    return 0.0


def _scale_within(picture: Picture, target: Target, memory_bytes: int, others_bytes: int) -> tuple[int, Target]:
    """Return the scale at which a picture is decoded, and what is made of it with the memory that there is.

    Raises
    ------
    ImageTooLargeError
        There is too little.
    """
    scale = decoded_scale(picture, target, memory_bytes)
    target = affordable_target(picture, target, scale, memory_bytes)
    needed = needed_bytes(picture, target, scale)
    if needed <= memory_bytes:
        return scale, target
    needed_mb = math.ceil((needed + others_bytes) / MIB_BYTES)
    error = ImageTooLargeError(
        f"It is {picture}; to convert it, the function would need {needed_mb:,} MB of memory, and has"
        f" {(memory_bytes + others_bytes) // MIB_BYTES:,}: {_remedy(needed_mb)}."
    )
    error.needed_bytes = needed  # type: ignore[attr-defined]
    raise error


def _no_memory(function_bytes: int) -> ImageTooLargeError:
    remedy = _remedy(function_bytes // MIB_BYTES + 1)
    return ImageTooLargeError(f"Decoding it takes more memory than the function has: {remedy}.")


def _remedy(needed_mb: int) -> str:
    if needed_mb <= MOST_FUNCTION_MB:
        return "raise analyze_memory_mb"
    return f"no function has more than {MOST_FUNCTION_MB:,}, so save the image smaller"


def _orientation(image: Image.Image | HeifPicture) -> int:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # an Exif that leads nowhere is no Exif
        return 1
    return orientation if orientation in range(1, 9) else 1


def _reduced(image: Image.Image | HeifPicture, sides_px: tuple[int, int]) -> Image.Image:
    """Return a picture in RGB, of smaller sides; strip by strip, for there is no memory for two of the full size."""
    width_px, height_px = sides_px
    made = Image.new("RGB", sides_px)
    shades: tuple[float, float] = 0, 65_535
    if isinstance(image, Image.Image) and image.mode in ("I", "F"):
        shades = shade_range(*image.getextrema())
    ratio = image.height / height_px
    margin_px = 0 if image.size == sides_px else math.ceil(_SUPPORT_PX * ratio) + 1
    strip_px = max(1, int(_STRIP_PIXELS / (image.width * ratio)))
    for top in range(0, height_px, strip_px):
        bottom = min(top + strip_px, height_px)
        first = max(0, math.floor(top * ratio) - margin_px)
        last = min(image.height, math.ceil(bottom * ratio) + margin_px)
        strip = _flat(image.crop((0, first, image.width, last)), *shades)
        box = (0, top * ratio - first, image.width, min(bottom * ratio, last) - first)
        made.paste(strip.resize((width_px, bottom - top), _RESAMPLING, box), (0, top))
    return made


def _flat(part: Image.Image, black: float, white: float) -> Image.Image:
    """Return a part of a picture in RGB: shades of many bits scaled, and what is transparent on white."""
    if part.mode[0] in "IF":
        return in_eight_bits(part, black, white).convert("RGB")
    if not part.has_transparency_data:
        return part.convert("RGB")
    part = part.convert("RGBA")
    flat = Image.new("RGB", part.size, "white")
    flat.paste(part, mask=part)
    return flat


def _encoded(picture: Image.Image, max_bytes: int) -> tuple[bytes, tuple[int, int]]:
    """Return a JPEG within its bytes, and its sides: of less quality where need be, and then smaller."""
    while True:
        for quality in _QUALITIES:
            content = io.BytesIO()
            picture.save(content, "JPEG", quality=quality)
            if content.tell() <= max_bytes:
                return content.getvalue(), picture.size
        sides_px = sides_of_less(*picture.size, content.tell(), max_bytes)
        picture = picture.resize(sides_px, _RESAMPLING)


def _told(error: Exception) -> str:
    """Return what a decoder says, in a line."""
    said = " ".join(str(error).split())
    return "".join(one for one in said if one.isprintable())[:_MOST_TOLD] or type(error).__name__


def main() -> None:
    """Convert standard input, within limits of memory and time."""
    asked = json.loads(sys.argv[1])
    memory_bytes = asked["memory_bytes"]
    most_bytes = max(memory_bytes, PROCESS_BYTES)  # with less it could not say that there is too little
    resource.setrlimit(resource.RLIMIT_DATA, (most_bytes, most_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (asked["cpu_seconds"], asked["cpu_seconds"] + 1))
    Image.preinit()
    sys.stderr = os.fdopen(os.dup(2), "w")  # for what fails here; decoders write as much as a file makes them
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    target = Target(asked["max_bytes"], asked["max_side_px"])
    # By another number: the decoder of TIFF takes 0 for no file, and has all of it in memory.
    with open(os.dup(0), "rb") as source, open(asked["output"], "wb") as output:  # noqa: PTH123
        try:
            told = convert(source, output, target, memory_bytes, asked["others_bytes"])
        except PermanentImageError as error:
            told = {
                "error": type(error).__name__,
                "message": str(error),
                "needed_bytes": getattr(error, "needed_bytes", None),
            }
        except ImportError as error:
            told = {"error": ConversionFailedError.__name__, "message": f"A decoder is not there: {error}"}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
