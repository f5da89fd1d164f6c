"""Opens a video: what its container says of it, and the pictures that it shows.

It needs PyAV, which only the emulator and the script of the sample videos have.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from local.emulator.annotations import annotation_at, read_video_annotation
from local.emulator.errors import MissingPackageError, VideoFormatError
from local.emulator.hosting import DECODED_SIDE_PX

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from av.container import InputContainer
    from PIL import Image

CODECS = ("h264",)
# FFmpeg's names of MPEG-4 and QuickTime, and of AVI.
FORMATS = ("mov", "avi")
_COLOR_RANGES = {1: "LIMITED", 2: "FULL"}


@dataclass(frozen=True)
class VideoDetails:
    """What a container says of its video.

    Attributes
    ----------
    metadata
        A `VideoMetadata` of the service.
    duration_seconds
        How long it is.
    is_supported
        Whether the service analyzes its container and codec.
    """

    metadata: dict[str, Any]
    duration_seconds: float
    is_supported: bool


@dataclass(frozen=True)
class Sample:
    """A picture of a video that was looked at.

    Attributes
    ----------
    times_ms
        When, in milliseconds from the start; more than once if it is shown for long.
    picture
        What is to be seen.
    annotation
        What was drawn, if the video says so.
    """

    times_ms: tuple[int, ...]
    picture: Image.Image
    annotation: dict[str, Any]


def av() -> ModuleType:
    """Return PyAV.

    Raises
    ------
    MissingPackageError
        If it is not installed.
    """
    try:
        import av as found
    except ImportError as error:
        raise MissingPackageError(
            f"videos need the package av, which cannot be imported ({error}): "
            "install requirements/dev.txt again, as `make local-up` does"
        ) from error
    return found


def read_details(file: IO[bytes]) -> VideoDetails:
    """Return what a video's container says of it.

    Raises
    ------
    VideoFormatError
        If it cannot be opened, or holds no video.
    """
    with _opened(file) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        if stream.duration is not None and stream.time_base is not None:
            duration_seconds = float(stream.duration * stream.time_base)
        else:
            duration_seconds = (container.duration or 0) / 1e6
        rate = stream.average_rate
        metadata = {
            "Codec": context.name,
            "DurationMillis": round(duration_seconds * 1000),
            "Format": container.format.long_name,
            "FrameRate": float(rate) if rate else None,
            "FrameHeight": context.height,
            "FrameWidth": context.width,
            "ColorRange": _COLOR_RANGES.get(int(context.color_range or 0)),
        }
        is_supported = context.name in CODECS and container.format.name.split(",")[0] in FORMATS
        return VideoDetails(metadata, duration_seconds, is_supported)


def look(file: IO[bytes], samples_per_second: float) -> Iterator[Sample]:
    """Look at a video so often, from its start on, and yield what is shown then, each picture once.

    Raises
    ------
    VideoFormatError
        If it cannot be opened, holds no video, or a frame cannot be decoded.
    """
    duration_seconds = read_details(file).duration_seconds
    with _opened(file) as container:
        spans = read_video_annotation(container.metadata.get("comment", ""))
        shown: tuple[float, Any] | None = None
        number = 0
        for frame in _frames(container):
            if shown is not None:
                times, number = _times(number, frame[0], samples_per_second)
                if times:
                    yield _sample(times, shown[1], spans)
            # What comes before the first frame shows the first one.
            shown = frame
        if shown is not None:
            times, _ = _times(number, max(duration_seconds, shown[0]), samples_per_second)
            if times:
                yield _sample(times, shown[1], spans)


def _times(number: int, until_seconds: float, samples_per_second: float) -> tuple[list[float], int]:
    """Return the times of the samples from a number on that lie before a time, and the number of the next one."""
    # A millionth, because times of frames are sums of fractions.
    end = max(number, math.ceil(until_seconds * samples_per_second - 1e-6))
    return [at / samples_per_second for at in range(number, end)], end


def _sample(times_seconds: list[float], frame: Any, spans: list[dict[str, Any]]) -> Sample:
    share = min(1.0, DECODED_SIDE_PX / max(frame.width, frame.height))
    picture = frame.to_image(width=max(1, round(frame.width * share)), height=max(1, round(frame.height * share)))
    return Sample(
        tuple(round(at * 1000) for at in times_seconds), picture, annotation_at(spans, times_seconds[0] + 1e-6)
    )


def _frames(container: InputContainer) -> Iterator[tuple[float, Any]]:
    try:
        first_seconds: float | None = None
        for frame in container.decode(video=0):
            at = float(frame.time or 0.0)
            first_seconds = at if first_seconds is None else first_seconds
            yield at - first_seconds, frame
    except av().FFmpegError as error:
        raise VideoFormatError(f"a frame cannot be decoded: {error}") from error


def _opened(file: IO[bytes]) -> InputContainer:
    file.seek(0)
    try:
        container: InputContainer = av().open(file)
    except av().FFmpegError as error:
        raise VideoFormatError(f"the content is no video that can be opened: {error}") from error
    if not container.streams.video:
        container.close()
        raise VideoFormatError("the content holds no video")
    return container
