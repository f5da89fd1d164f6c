"""Convert images that a model does not take as they are, for the model only."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from batch_vision.core import errors
from batch_vision.core.conversion import MIB_BYTES, conversion_reasons, most_cpu_seconds, target_of
from batch_vision.core.image_header import HEADER_BYTES, is_cut_off
from batch_vision.core.image_limits import broken_limit
from batch_vision.images.preparing import Prepared

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batch_vision.backends.contracts import ReadableImage
    from batch_vision.core.conversion import Target
    from batch_vision.core.image_limits import ImageLimits
    from batch_vision.images.source import StoredImage

_START_BYTES = 128 * 1024  # behind the metadata of nearly every JPEG
# Of /tmp, which has 512 MB.
_MOST_SOURCE_BYTES = 256 * MIB_BYTES
# What this process is taken to need, so that the same image is refused or not whatever its neighbours need; and what it
# may come to need while another one converts.
_OWN_BYTES = 128 * MIB_BYTES
_SPARE_BYTES = 32 * MIB_BYTES
# An image that has less of the time that the first one of its invocation had has lost it to others.
_OWN_SHARE = 0.8
_CHILD = "batch_vision.images.convert_file"
_ERRORS = {
    one.__name__: one
    for one in (errors.InvalidImageFormatError, errors.ImageTooLargeError, errors.ConversionFailedError)
}


@dataclass(frozen=True, slots=True)
class ConvertedImage:
    """The JPEG that was made of an image version in S3."""

    bucket: str
    key: str
    version_id: str
    content: bytes = field(repr=False)
    is_stored: bool = field(default=False, init=False)

    @property
    def size_bytes(self) -> int:
        """Size of the JPEG."""
        return len(self.content)

    def read_bytes(self) -> bytes:
        """Return the JPEG."""
        return self.content

    def read_start(self, most_bytes: int) -> bytes:
        """Return the first bytes of the JPEG."""
        return self.content[:most_bytes]


class Converter:
    """Converts images, one at a time, each in a process of its own.

    Parameters
    ----------
    memory_bytes
        Of the function.
    """

    def __init__(self, memory_bytes: int) -> None:
        self._memory_bytes = memory_bytes
        self._lock = threading.Lock()
        # Of the invocation: how much time its first image had.
        self._deadline = self._first_left_seconds = 0.0

    def prepare(self, image: StoredImage, limits: Mapping[str, ImageLimits], deadline: float) -> Prepared:
        """Have those detectors asked about a JPEG that cannot take the image itself; see `Prepare`."""
        if not limits:
            return Prepared({})
        reasons = conversion_reasons(_read_start(image), image.size_bytes, limits)
        images: dict[str, ReadableImage | errors.PermanentImageError] = dict.fromkeys(limits, image)
        if not reasons:
            return Prepared(images)
        try:
            converted, told = self._convert(image, target_of(limits[name] for name in reasons), deadline)
        except errors.PermanentImageError as error:
            refusals = {name: type(error)(f"{reason} {error}") for name, reason in reasons.items()}
            return Prepared(images | refusals)
        for name in reasons:
            broken = broken_limit(converted.content, converted.size_bytes, limits[name])
            images[name] = errors.InvalidImageError(f"As a JPEG: {broken.reason}") if broken else converted
        told["reason"] = " ".join(dict.fromkeys(reasons.values()))
        asked = [name for name in reasons if images[name] is converted]
        return Prepared(images, {name: {"converted": told} for name in asked})

    def _convert(self, image: StoredImage, target: Target, deadline: float) -> tuple[ConvertedImage, dict[str, Any]]:
        """Return the JPEG that was made of an image, and what of it.

        Raises
        ------
        InvalidImageFormatError, ImageTooLargeError
            It can never be converted.
        ConversionWaitsError, ConversionTimeoutError, NoMemoryLeftError
            Not now.
        ConversionFailedError
            Converting does not work here.
        """
        if image.size_bytes > _MOST_SOURCE_BYTES:
            raise errors.ImageTooLargeError(
                f"It has {image.size_bytes:,} bytes; {_MOST_SOURCE_BYTES:,} at most are converted."
            )
        if not self._lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise errors.ConversionWaitsError("Others are converted: the image is left for another invocation.")
        try:
            left_seconds = deadline - time.monotonic()
            if deadline != self._deadline:
                self._deadline, self._first_left_seconds = deadline, left_seconds
            # Both files have no name, and are gone with this process however it ends.
            with TemporaryFile() as source, TemporaryFile() as output:
                image.save_to(source)
                source.seek(0)
                told = self._run(source.fileno(), output.fileno(), target, deadline)
                output.seek(0)
                return ConvertedImage(image.bucket, image.key, image.version_id, output.read()), told
        except errors.ConversionTimeoutError as error:
            if left_seconds < _OWN_SHARE * self._first_left_seconds:
                raise errors.ConversionWaitsError(
                    "Others were converted first, and there was too little time."
                ) from error
            raise
        finally:
            self._lock.release()

    def _run(self, source: int, output: int, target: Target, deadline: float) -> dict[str, Any]:
        """Run the process, and return what it says; raises as `_convert`."""
        left_seconds = deadline - time.monotonic()
        if left_seconds <= 0:
            raise errors.ConversionWaitsError("The invocation is nearly over: the image is left for another one.")
        most_bytes = self._memory_bytes - _OWN_BYTES - _SPARE_BYTES
        memory_bytes = self._memory_bytes - max(_OWN_BYTES, _resident_bytes()) - _SPARE_BYTES
        cpu_seconds = most_cpu_seconds(self._memory_bytes)
        asked = {
            "max_bytes": target.max_bytes,
            "max_side_px": target.max_side_px,
            "memory_bytes": memory_bytes,
            "others_bytes": self._memory_bytes - memory_bytes,
            "cpu_seconds": cpu_seconds,
            "output": output,
        }
        # Nothing else of the environment: it holds the credentials of the function.
        environment = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
        try:
            ended = subprocess.run(
                [sys.executable, "-B", "-m", _CHILD, json.dumps(asked)],
                env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
                stdin=source,
                capture_output=True,
                pass_fds=[output],
                timeout=left_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise errors.ConversionTimeoutError(
                f"It was not converted within {left_seconds:.0f} seconds, when the time of the invocation was over."
            ) from error
        if ended.returncode == -signal.SIGXCPU:
            raise errors.InvalidImageFormatError(f"Decoding it took more than {cpu_seconds} seconds of a processor.")
        if ended.returncode == -signal.SIGKILL:  # nobody else does that
            raise errors.NoMemoryLeftError("The system ended the process that converts it, as where memory runs out.")
        if ended.returncode < 0:
            name = signal.Signals(-ended.returncode).name
            raise errors.InvalidImageFormatError(f"It cannot be decoded: it made the decoder end by {name}.")
        if ended.returncode:
            said = ended.stderr.decode(errors="replace").strip().splitlines() or [""]
            raise errors.ConversionFailedError(f"The process that converts images ended with: {said[-1]}")
        told: dict[str, Any] = json.loads(ended.stdout)
        if "error" not in told:
            return told
        if memory_bytes < most_bytes and told["error"] == errors.ImageTooLargeError.__name__:
            needed_bytes = told["needed_bytes"]
            if needed_bytes is None or needed_bytes <= most_bytes:
                raise errors.NoMemoryLeftError(f"The images beside it leave too little memory. {told['message']}")
        raise _ERRORS[told["error"]](told["message"])


def _read_start(image: StoredImage) -> bytes:
    start = image.read_start(_START_BYTES)
    if is_cut_off(start) and len(start) < image.size_bytes:
        return image.read_start(HEADER_BYTES)
    return start


def _resident_bytes() -> int:
    """Return the memory that this process has; the most that it ever had where the system has no `/proc`."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return pages * resource.getpagesize()
