"""Separates the pixels of an encoded image from its metadata.

A service decodes pictures whose metadata is broken, and Pillow does not open some of them. So Pillow gets the pixels
only, and the one thing of the metadata that counts, the orientation, is read apart.
"""

from __future__ import annotations

import warnings

from PIL import ExifTags, Image

_EXIF = b"Exif\0\0"
# JPEG: application segments and comments hold metadata. Two say what the numbers of the pixels mean, and are kept when
# they are whole: APP0 (JFIF) and APP14 (Adobe).
_METADATA_MARKERS = (*range(0xE0, 0xF0), 0xFE)
_APP0, _APP1, _APP14 = 0xE0, 0xE1, 0xEE
_MIN_COLOUR_SEGMENT_BYTES = 14
_START_OF_SCAN = 0xDA
# PNG: a lower-case first letter marks a chunk that a decoder may pass over.
_TRANSPARENCY_CHUNK = b"tRNS"
_EXIF_CHUNK = b"eXIf"


def split_jpeg(content: bytes) -> tuple[bytes, bytes]:
    """Return a JPEG without its metadata, and its EXIF data, empty if there is none.

    What does not have the form of a segment is kept as it is, for the decoder to judge.
    """
    kept, exif, at = [content[:2]], b"", 2
    while content[at : at + 1] == b"\xff" and at + 4 <= len(content):
        marker = content[at + 1]
        if marker == 0xFF:  # may stand before any marker
            at += 1
            continue
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4])
        if marker == _START_OF_SCAN or end < at + 4:
            break
        segment = content[at:end]
        says_colours = marker in (_APP0, _APP14) and len(segment) >= _MIN_COLOUR_SEGMENT_BYTES + 2
        if marker not in _METADATA_MARKERS or says_colours:
            kept.append(segment)
        elif marker == _APP1 and segment[4:].startswith(_EXIF) and not exif:
            exif = segment[4:]
        at = end
    return b"".join([*kept, content[at:]]), exif


def split_png(content: bytes) -> tuple[bytes, bytes]:
    """Return a PNG without its metadata, and its EXIF data, empty if there is none; see `split_jpeg`."""
    kept, exif, at = [content[:8]], b"", 8
    while at + 12 <= len(content):
        end = at + 12 + int.from_bytes(content[at : at + 4])
        name = content[at + 4 : at + 8]
        if end > len(content) or not name.isalpha():
            break
        if name[:1].isupper() or name == _TRANSPARENCY_CHUNK:
            kept.append(content[at:end])
        elif name == _EXIF_CHUNK:
            exif = content[at + 8 : end - 4]
        at = end
    return b"".join([*kept, content[at:]]), exif


def orientation(exif_data: bytes) -> int:
    """Return how a picture lies, from 1 (upright) to 8 as EXIF has it; 1 too for EXIF data that cannot be read."""
    exif = Image.Exif()
    try:
        with warnings.catch_warnings(action="ignore"):
            exif.load(exif_data)
            found = exif.get(ExifTags.Base.Orientation)
    except Exception:  # Pillow raises many kinds for broken data
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1
