"""MP4 and MOV files made of boxes, without a coder: what their header says is what a test wants."""

from __future__ import annotations

import struct


def box(kind: bytes, *content: bytes, wide: bool = False) -> bytes:
    body = b"".join(content)
    if wide:
        return struct.pack(">I4sQ", 1, kind, len(body) + 16) + body
    return struct.pack(">I4s", len(body) + 8, kind) + body


def durations(kind: bytes, seconds: float, per_second: int = 1000, version: int = 0, units: int | None = None) -> bytes:
    form = ">B3xQQIQ" if version else ">B3xIIII"
    told = round(seconds * per_second) if units is None else units
    return box(kind, struct.pack(form, version, 0, 0, per_second, told), bytes(80))


def track(
    codec: bytes = b"avc1", handler: bytes = b"vide", sides: tuple[int, int] = (320, 240), seconds: float = 4
) -> bytes:
    entry = box(codec, bytes(6), b"\0\1", bytes(16), struct.pack(">HH", *sides), bytes(50))
    table = box(b"stbl", box(b"stsd", bytes(4), struct.pack(">I", 1), entry), box(b"stsz", bytes(30_000)))
    return box(
        b"trak",
        box(b"tkhd", bytes(84)),
        box(
            b"mdia",
            durations(b"mdhd", seconds),
            box(b"hdlr", bytes(8), handler, bytes(13)),
            box(b"minf", box(b"vmhd", bytes(12)), box(b"dinf", bytes(28)), table),
        ),
    )


def movie(seconds: float = 4, *tracks: bytes, version: int = 0) -> bytes:
    return box(b"moov", durations(b"mvhd", seconds, version=version), *(tracks or (track(seconds=seconds),)))


def mp4(header: bytes | None = None, *, brand: bytes = b"isom", media_bytes: int = 20_000, fast: bool = False) -> bytes:
    header = movie() if header is None else header
    media = box(b"mdat", bytes(media_bytes))
    return box(b"ftyp", brand, bytes(4)) + (header + media if fast else box(b"free") + media + header)
