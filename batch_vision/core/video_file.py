"""What a video's own header tells: how long it is and how it is coded, and whether the service refuses that.

Only the header of an MP4 or MOV is read, a few kilobytes wherever it stands in the file (ISO/IEC 14496-12, "Object
structured file organization"; QuickTime File Format, "Movie atoms"). Nothing is decoded. A file may be hostile: the
walk over its boxes only ever goes forward, and reads a bounded number of bytes. What cannot be told that way stays
unknown, and the service decides.

Limits: Rekognition developer guide, "Guidelines and quotas in Amazon Rekognition", stored video.
"""

from __future__ import annotations

import math
import struct
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from batch_vision.core import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Read = Callable[[int, int], bytes]

MOST_BYTES = 10 * 1024**3
MOST_SECONDS = 6 * 3600
MOST_MINUTES = MOST_SECONDS // 60  # what a video of unknown length may have
CODECS = frozenset({"avc1", "avc3"})  # H.264, whose parameters stand in the header or in the stream

# A read covers the boxes of a track up to its codec; the tables between two tracks are passed over.
READ_BYTES = 4096
MOST_READS = 64

# What an MP4 or MOV begins with.
_FIRST = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"uuid", b"styp"})
_PICTURES = b"vide"
_UNKNOWN_DURATIONS = frozenset({0, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF})


class Fault(StrEnum):
    """Why a file is no video that any service could take."""

    EMPTY = "It has 0 bytes."
    NO_VIDEO = "It is neither an MP4 nor a MOV nor an AVI, whatever its name says."
    CUT_OFF = "It has no complete header (moov): the file is cut off."
    NO_PICTURES = "It has no track with pictures."


@dataclass(frozen=True, slots=True)
class VideoFile:
    """What the header tells; None for what it does not.

    Attributes
    ----------
    container
        ``mp4``, ``mov`` or ``avi``.
    codec
        The name of the coding of the pictures in the header, such as ``avc1``.
    width, height
        Of the coded picture, in pixels.
    fault
        Why the file is no video at all.
    """

    container: str | None = None
    duration_seconds: float | None = None
    codec: str | None = None
    width: int | None = None
    height: int | None = None
    fault: Fault | None = None


class _UnreadableError(Exception):
    """The rest cannot be told: the boxes contradict each other, or there are too many."""


class _CutOffError(Exception):
    """The file ends within a box that is needed."""


class _Source:
    """The bytes of a file, with a bound on how many are read."""

    def __init__(self, read: Read, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._read = read
        self._reads_left = MOST_READS
        self._begin, self._window = 0, b""

    def at(self, offset: int, length: int) -> bytes:
        """Return so many bytes, which are less than a read takes."""
        if not self._begin <= offset <= offset + length <= self._begin + len(self._window):
            if offset + length > self.size_bytes or self._reads_left == 0:
                raise _UnreadableError
            self._reads_left -= 1
            self._begin = offset
            self._window = self._read(offset, min(READ_BYTES, self.size_bytes - offset))
        found = self._window[offset - self._begin :][:length]
        if len(found) < length:
            raise _UnreadableError
        return found

    def boxes(self, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
        """Return kind, begin and end of the content of each box between two places; the last may end after them."""
        while begin + 8 <= end:
            size, kind = struct.unpack(">I4s", self.at(begin, 8))
            header = 8
            if size == 1:
                (size,) = struct.unpack(">Q", self.at(begin + 8, 8))
                header = 16
            elif size == 0:  # the last box of the file
                size = end - begin
            if size < header:
                raise _UnreadableError
            yield kind, begin + header, begin + size
            begin += size

    def inner(self, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
        """Return the boxes of a box, none of which may end after it."""
        for kind, first, last in self.boxes(begin, end):
            if last > end:
                raise _UnreadableError
            yield kind, first, last


@dataclass(slots=True)
class _Track:
    """What the boxes of a track tell, or those of the whole."""

    handler: bytes = b""
    units: int = 0
    units_per_second: int = 0
    codec: str | None = None
    width: int | None = None
    height: int | None = None

    @property
    def seconds(self) -> float | None:
        if self.units in _UNKNOWN_DURATIONS or self.units_per_second == 0:
            return None
        return round(self.units / self.units_per_second, 3)


def read_header(read: Read, size_bytes: int) -> VideoFile:
    """Return what the header of a video tells.

    Parameters
    ----------
    read
        Return so many bytes of the file from an offset on; called `MOST_READS` times at most, for `READ_BYTES` at most
        each, and never for what lies behind the end.
    size_bytes
        Of the file.
    """
    if size_bytes == 0:
        return VideoFile(fault=Fault.EMPTY)
    source = _Source(read, size_bytes)
    try:
        start = source.at(0, min(12, size_bytes))
    except _UnreadableError:  # the file is not what it was said to be
        return VideoFile()
    if start.startswith(b"RIFF") and start[8:] == b"AVI ":
        return VideoFile("avi")
    if start[4:8] not in _FIRST:
        return VideoFile(fault=Fault.NO_VIDEO)
    file = VideoFile("mp4" if start[4:8] == b"ftyp" and start[8:] != b"qt  " else "mov")
    try:
        begin, end = _movie(source)
    except _CutOffError:
        return replace(file, fault=Fault.CUT_OFF)
    except _UnreadableError:
        return file
    return _of_movie(source, begin, end, file)


def _movie(source: _Source) -> tuple[int, int]:
    """Return where the content of the header is."""
    for kind, begin, end in source.boxes(0, source.size_bytes):
        if end > source.size_bytes:
            break
        if kind == b"moov":
            return begin, end
    raise _CutOffError


def _of_movie(source: _Source, begin: int, end: int, file: VideoFile) -> VideoFile:
    movie, fragments = _Track(), None
    tracks: list[_Track] = []
    is_whole = False
    with suppress(_UnreadableError):
        for kind, first, last in source.inner(begin, end):
            if kind == b"mvhd":
                _read_duration(source, first, movie)
            elif kind == b"trak":
                tracks.append(_Track())
                _read_track(source, first, last, tracks[-1])
            elif kind == b"mvex":
                fragments = _Track(units_per_second=movie.units_per_second)
                _read_fragments(source, first, last, fragments)
        is_whole = True
    seen = [track for track in tracks if track.handler == _PICTURES]
    if is_whole and tracks and not seen:
        return replace(file, fault=Fault.NO_PICTURES)
    # A cover picture is a track like a film; what the service can take is what counts.
    track = min(seen, key=lambda track: track.codec not in CODECS, default=_Track())
    # The other durations in the header of a fragmented file are those of its first fragment, or none.
    is_unknown = fragments is not None and fragments.seconds is None
    # Whichever the service goes by, it is paid for no more than this.
    known = [one.seconds for one in (movie, *tracks, fragments) if one and one.seconds is not None]
    duration = None if is_unknown else max(known, default=None)
    return VideoFile(file.container, duration, track.codec, track.width, track.height)


def _read_track(source: _Source, begin: int, end: int, track: _Track) -> None:
    media = None
    for kind, first, last in source.inner(begin, end):
        if kind == b"mdia":
            for part, first_of_part, last_of_part in source.inner(first, last):
                if part == b"mdhd":
                    _read_duration(source, first_of_part, track)
                elif part == b"hdlr":
                    track.handler = source.at(first_of_part + 8, 4)
                elif part == b"minf":
                    media = (first_of_part, last_of_part)
    if media and track.handler == _PICTURES:
        _read_codec(source, *media, track)


def _read_codec(source: _Source, begin: int, end: int, track: _Track) -> None:
    for kind, first, last in source.inner(begin, end):
        if kind == b"stbl":
            for part, first_of_part, _ in source.inner(first, last):
                if part == b"stsd":  # version, flags and number of entries, and then the first of them
                    entry = source.at(first_of_part + 8, 36)
                    track.codec = entry[4:8].decode("latin-1")
                    track.width, track.height = (side or None for side in struct.unpack_from(">HH", entry, 32))


def _read_duration(source: _Source, begin: int, track: _Track) -> None:
    form = ">QQIQ" if source.at(begin, 1) == b"\x01" else ">IIII"
    numbers = struct.unpack(form, source.at(begin + 4, struct.calcsize(form)))
    track.units_per_second, track.units = numbers[2:]


def _read_fragments(source: _Source, begin: int, end: int, fragments: _Track) -> None:
    for kind, first, _ in source.inner(begin, end):
        if kind == b"mehd":
            form = ">Q" if source.at(first, 1) == b"\x01" else ">I"
            (fragments.units,) = struct.unpack(form, source.at(first + 4, struct.calcsize(form)))


def why_refused(file: VideoFile, size_bytes: int, max_minutes_per_day: int) -> errors.BatchVisionError | None:
    """Return why a video cannot be analyzed; None where it can, or where only the service can tell.

    Parameters
    ----------
    size_bytes
        Of the file.
    max_minutes_per_day
        What this deployment may analyze in a day: a longer video would wait for ever.
    """
    if file.fault:
        return errors.InvalidVideoFormatError(file.fault)
    if size_bytes > MOST_BYTES:
        return errors.VideoTooLargeError(f"It has {size_bytes:,} bytes; the service takes {MOST_BYTES:,} at most.")
    if file.codec is not None and file.codec not in CODECS:
        return errors.VideoCodecError(
            f"Its pictures are coded as {file.codec!r}; the service takes H.264 ({', '.join(sorted(CODECS))}) only."
        )
    duration = file.duration_seconds
    if duration is not None and duration > MOST_SECONDS:
        return errors.VideoTooLongError(f"It is {duration:,.0f} s long; the service takes {MOST_SECONDS:,} s at most.")
    minutes = MOST_MINUTES if duration is None else math.ceil(duration / 60)
    if minutes > max_minutes_per_day:
        return why_over_budget(duration, minutes, max_minutes_per_day)
    return None


def why_over_budget(
    duration_seconds: float | None, minutes: int, max_minutes_per_day: int
) -> errors.VideoOverBudgetError:
    """Return why a video that counts as more minutes than any day has is not analyzed."""
    told = f"Its length is unknown: {minutes} minutes" if duration_seconds is None else f"Its {minutes} minutes"
    return errors.VideoOverBudgetError(
        f"{told} count against max_minutes_per_day, which is {max_minutes_per_day}: it could never be started."
    )
