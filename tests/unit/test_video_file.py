"""What the header of a video tells, of sound files, of others, and of hostile ones."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_vision.core import errors
from batch_vision.core.video_file import MOST_BYTES, MOST_READS, READ_BYTES, Fault, VideoFile, read_header, why_refused
from tests.video_files import box, durations, movie, mp4, track

GIB = 1024**3


class Bytes:
    """A file that counts what is read of it."""

    def __init__(self, content: bytes, size_bytes: int | None = None) -> None:
        self.content = content
        self.size_bytes = len(content) if size_bytes is None else size_bytes
        self.tail, self.tail_begin = b"", self.size_bytes
        self.reads = self.read_bytes = 0

    def __call__(self, offset: int, length: int) -> bytes:
        assert length > 0
        assert offset + length <= self.size_bytes, "S3 answers 416 to a range behind the end"
        self.reads += 1
        self.read_bytes += length
        if offset >= self.tail_begin:
            return self.tail[offset - self.tail_begin :][:length]
        return self.content[offset : offset + length].ljust(length, b"\0")


def read(content: bytes, size_bytes: int | None = None) -> VideoFile:
    file = Bytes(content, size_bytes)
    return read_header(file, file.size_bytes)


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("version", [0, 1])
def test_the_header_is_read_wherever_it_stands(fast: bool, version: int) -> None:
    assert read(mp4(movie(21_599.5, version=version), fast=fast)) == VideoFile("mp4", 21_599.5, "avc1", 320, 240)


def test_a_few_kilobytes_of_a_large_file_are_read() -> None:
    sound = track(b"mp4a", b"soun")
    start = box(b"ftyp", b"qt  ", bytes(4)) + box(b"wide")
    header = movie(3600, sound, track(), sound, track(b"tmcd", b"tmcd"))
    begin = len(start) + 6 * GIB
    file = Bytes(start + struct.pack(">I4sQ", 1, b"mdat", 6 * GIB), begin + len(header))
    file.tail, file.tail_begin = header, begin
    assert read_header(file, file.size_bytes) == VideoFile("mov", 3600.0, "avc1", 320, 240)
    assert file.reads <= 8
    assert file.read_bytes <= 8 * READ_BYTES


def test_a_mov_without_a_type_is_read() -> None:
    assert read(box(b"mdat", bytes(100)) + movie(2)) == VideoFile("mov", 2.0, "avc1", 320, 240)


def test_an_avi_is_unknown_and_the_service_decides() -> None:
    file = read(b"RIFF\0\0\0\0AVI LIST" + bytes(100))
    assert file == VideoFile("avi")
    assert why_refused(file, 120, 600) is None


def test_a_cover_picture_is_no_reason() -> None:
    assert read(mp4(movie(4, track(b"jpeg", sides=(9, 9)), track(b"avc3")))).codec == "avc3"


def test_a_duration_that_is_not_told_is_unknown() -> None:
    unknown = box(b"moov", durations(b"mvhd", 0, units=0xFFFFFFFF), track(seconds=0))
    assert read(mp4(unknown)).duration_seconds is None
    assert read(mp4(box(b"moov", durations(b"mvhd", 4, per_second=0), track(seconds=7)))).duration_seconds == 7.0


def test_a_video_is_as_long_as_the_longest_of_what_its_header_tells() -> None:
    """It is paid for by what is in it: a header that tells less would make the day's budget a word only."""
    assert read(mp4(movie(1, track(seconds=3)))).duration_seconds == 3.0
    assert read(mp4(movie(1, track(seconds=2), track(b"mp4a", b"soun", seconds=7)))).duration_seconds == 7.0


def test_fragments_are_as_long_as_their_header_says_or_unknown() -> None:
    """The other durations are those of the first fragment: a day would be reserved as a second."""
    told = box(b"mvex", box(b"mehd", struct.pack(">II", 0, 90_000)))
    assert read(mp4(movie(1, track(seconds=1), told))).duration_seconds == 90.0
    assert read(mp4(movie(1, track(seconds=1), box(b"mvex", box(b"trex", bytes(24)))))).duration_seconds is None


@pytest.mark.fault("Videos: no video, a codec that is refused")
@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", Fault.EMPTY),
        (b"x", Fault.NO_VIDEO),
        (b"This is a text, and its name is film.mp4.\n" * 99, Fault.NO_VIDEO),
        (b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(99), Fault.NO_VIDEO),
        (b"\x1aE\xdf\xa3" + bytes(99), Fault.NO_VIDEO),
        (mp4()[:-1], Fault.CUT_OFF),
        (mp4()[:5000], Fault.CUT_OFF),
        (mp4(fast=True)[:1000], Fault.CUT_OFF),
        (mp4(b""), Fault.CUT_OFF),
        (mp4()[:20], Fault.CUT_OFF),
        (mp4(movie(4, track(b"mp4a", b"soun"))), Fault.NO_PICTURES),
    ],
    ids=["empty", "byte", "text", "jpeg", "webm", "header cut", "media cut", "fast cut", "none", "start", "sound"],
)
def test_what_is_no_video_is_refused(content: bytes, fault: Fault) -> None:
    file = read(content)
    assert file.fault is fault
    refusal = why_refused(file, len(content), 600)
    assert isinstance(refusal, errors.InvalidVideoFormatError)
    assert str(refusal) == fault


@pytest.mark.parametrize(
    ("file", "size_bytes", "most_minutes", "refusal", "told"),
    [
        (VideoFile("mp4", 9.0, "avc1"), MOST_BYTES + 1, 600, errors.VideoTooLargeError, "10,737,418,241 bytes"),
        (VideoFile("mp4", 21_600.001, "avc1"), 9, 600, errors.VideoTooLongError, "21,600 s"),
        (VideoFile("mp4", 9.0, "hvc1"), 9, 600, errors.VideoCodecError, "'hvc1'"),
        (VideoFile("mp4", 9.0, "\x1b[2J"), 9, 600, errors.VideoCodecError, r"'\x1b[2J'"),
        (VideoFile("mp4", 3541.0, "avc1"), 9, 59, errors.VideoOverBudgetError, "max_minutes_per_day, which is 59"),
        (VideoFile("avi"), 9, 359, errors.VideoOverBudgetError, "360 minutes"),
        (VideoFile("mp4", 21_600.0, "avc1"), MOST_BYTES, 360, None, ""),
        (VideoFile("avi"), 9, 360, None, ""),
        (VideoFile("mp4"), 9, 600, None, ""),
        (VideoFile("mp4", 0.04, "avc3"), 9, 1, None, ""),
    ],
)
def test_a_limit_is_named(
    file: VideoFile, size_bytes: int, most_minutes: int, refusal: type[Exception] | None, told: str
) -> None:
    found = why_refused(file, size_bytes, most_minutes)
    assert type(found) is (refusal or type(None))
    assert found is None or told in str(found)


@pytest.mark.parametrize(
    "header",
    [
        box(b"moov", b"\0\0\0\0mvhd" * 20_000),  # a box that reaches to the end, in which there is another
        box(b"moov", box(b"free") * 40_000, movie()[8:]),
        box(b"moov", struct.pack(">I4s", 7, b"trak") * 999),
        box(b"moov", struct.pack(">I4sQ", 1, b"trak", 3), bytes(99)),
        box(b"moov", struct.pack(">I4sQ", 1, b"trak", 2**64 - 1), bytes(99)),
        box(b"moov", struct.pack(">I4s", 0xFFFFFFFF, b"trak"), bytes(99)),
        box(b"moov", box(b"trak", struct.pack(">I4s", 999, b"mdia"), bytes(99))),
        box(b"moov", box(b"cmov", bytes(99))),
        box(b"moov", *(track(handler=b"meta"),) * 99),
        box(b"moov"),
        box(b"moov", box(b"mvhd")),
    ],
)
def test_a_hostile_header_ends_within_its_bound_and_is_unknown(header: bytes) -> None:
    file = Bytes(mp4(header))
    found = read_header(file, file.size_bytes)
    assert (found.container, found.codec, found.fault) == ("mp4", None, None)
    assert file.reads <= MOST_READS


@pytest.mark.parametrize("size", [0, 1, 2**32 - 1])
def test_a_hostile_size_at_the_top_leads_nowhere(size: int) -> None:
    content = box(b"ftyp", b"isom", bytes(4)) + struct.pack(">I4s", size, b"mdat") + b"\xff" * 8 + movie()
    assert read(content).fault is Fault.CUT_OFF


def test_many_boxes_before_the_header_are_given_up() -> None:
    file = Bytes(b"".join(box(b"free", bytes(5000)) for _ in range(200)) + movie())
    assert read_header(file, file.size_bytes) == VideoFile("mov")
    assert file.reads == MOST_READS


def test_what_was_told_before_the_damage_counts() -> None:
    damaged = box(b"moov", durations(b"mvhd", 30_000), track(), struct.pack(">I4s", 3, b"trak"))
    file = read(mp4(damaged))
    assert (file.duration_seconds, file.codec) == (30_000.0, "avc1")


def test_a_file_that_is_shorter_than_it_was_said_to_be_is_unknown() -> None:
    assert read_header(lambda _offset, _length: b"", 1000) == VideoFile()


_SOUND = {fast: mp4(media_bytes=100, fast=fast) for fast in (False, True)}
_PLACES = [place for place, byte in enumerate(_SOUND[False][:1000]) if byte]


@settings(max_examples=150, deadline=None)
@given(
    changes=st.lists(st.tuples(st.sampled_from(_PLACES), st.binary(min_size=1, max_size=8)), max_size=4),
    cut=st.integers(0, 9),
    fast=st.booleans(),
)
def test_a_changed_header_never_raises_or_reads_on(changes: list[tuple[int, bytes]], cut: int, fast: bool) -> None:
    content = bytearray(_SOUND[fast])
    for place, new in changes:
        content[place : place + len(new)] = new
    file = Bytes(bytes(content[: len(content) * (10 - cut) // 10]))
    found = read_header(file, file.size_bytes)
    assert file.reads <= MOST_READS
    assert found.duration_seconds is None or found.duration_seconds >= 0
    why_refused(found, file.size_bytes, 600)
