"""Draws the sample video, and others for tests: the sample images one after the other, each for some seconds.

`python -m local.samples.draw_videos [FOLDER]` writes `videos/…`. It needs PyAV (`requirements/dev.txt`). The same
version of PyAV writes the same bytes. What the images hold as an annotation is in the comment of the video, with its
times (see `local.emulator.annotations`).
"""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from local.emulator.annotations import read_annotation, write_video_annotation
from local.emulator.video_files import av

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).resolve().parent
WIDTH_PX, HEIGHT_PX = 240, 180
FRAMES_PER_SECOND = 4
# One quantizer for all frames: a picture that stands still is decoded to the same pixels, and takes next to no bytes.
X264_OPTIONS = {
    "threads": "1",
    "x264-params": "qp=28:bframes=0:mbtree=0:aq-mode=0:ipratio=1:pbratio=1:no-psy=1:deadzone-inter=32",
}
# What an analysis of videos finds of what images are annotated with.
ANNOTATED = ("Lines", "Faces")


@dataclass(frozen=True)
class Shot:
    """A sample image, by its name among the samples, and how long it is shown."""

    image: str
    seconds: float


# By what the emulator's model says of them. It has learned parts only, so for it a portrait is a stained part.
NORMAL, CRACK, STAIN = "pile/part-01.jpg", "pile/part-02.png", "pile/part-03.jpg"
NUMBERED_CRACK, PORTRAIT = "scenes/lot 4711.jpg", "scenes/portrait.jpg"
SHOTS = (Shot(PORTRAIT, 2), Shot(NORMAL, 2), Shot(NUMBERED_CRACK, 2), Shot(STAIN, 2))
SAMPLE = "line 3/belt.mp4"


def draw_all(folder: Path) -> None:
    """Draw the sample video into a folder."""
    path = folder / "videos" / SAMPLE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(draw_video(SHOTS))


def draw_video(
    shots: Sequence[Shot],
    *,
    codec: str = "libx264",
    container: str = "mp4",
    frames_per_second: int | Fraction = FRAMES_PER_SECOND,
) -> bytes:
    """Draw a video.

    Parameters
    ----------
    shots
        What it shows.
    codec, container
        FFmpeg's names; with `mpeg4` in the place of `libx264` it is a video that the service refuses.
    frames_per_second
        How many frames it has.
    """
    content = io.BytesIO()
    spans, start_seconds = [], 0.0
    # The options keep what varies out of the file: the time of day, and the work of several threads.
    with av().open(content, "w", format=container, options={"fflags": "+bitexact"}) as output:
        stream = output.add_stream(codec, rate=frames_per_second)
        stream.width, stream.height, stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        stream.time_base = Fraction(1, frames_per_second)
        stream.options = X264_OPTIONS if codec == "libx264" else {"threads": "1"}
        for shot in shots:
            encoded = (HERE / shot.image).read_bytes()
            end_seconds = start_seconds + shot.seconds
            if annotation := read_annotation(encoded):
                shown = {kind: annotation[kind] for kind in ANNOTATED if kind in annotation}
                spans.append({"StartSeconds": start_seconds, "EndSeconds": end_seconds, **shown})
            start_seconds = end_seconds
        if spans:
            output.metadata["comment"] = write_video_annotation(spans)
        number = 0
        for shot in shots:
            picture = Image.open(HERE / shot.image).convert("RGB").resize((WIDTH_PX, HEIGHT_PX))
            for _ in range(round(shot.seconds * frames_per_second)):
                frame = av().VideoFrame.from_image(picture)
                frame.pts = number
                number += 1
                output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return content.getvalue()


def plain_video(seconds: float, image: str = NORMAL) -> bytes:
    """Draw a video of one image, as long as it is asked for."""
    return draw_video([Shot(image, seconds)], frames_per_second=2)


def refused_video(seconds: float = 2) -> bytes:
    """Draw a video with a codec that the service does not take."""
    return draw_video([Shot(NORMAL, seconds)], codec="mpeg4")


def truncated(video: bytes) -> bytes:
    """Return an MP4 that ends in the middle of the box that says what is in it."""
    at = video.rindex(b"moov")
    return video[: at + 200]


TEXT = b"This file was cut off on its way: it has the name of a video, and nothing else of one.\n"


if __name__ == "__main__":
    draw_all(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
