"""The pictures of a review: made when they are asked for, and kept on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batch_vision.aws.objects import found
from batch_vision.core.corrections import box_line, box_within
from batch_vision.operator.objects import image_place, marked_boxes, read_result
from batch_vision.operator.pictures import (
    MOST_BYTES,
    UNREADABLE,
    data_uri,
    for_browser,
    make_mask,
    make_thumbnail,
    room_for,
)
from batch_vision.operator.results import is_of_line
from batch_vision.operator.user_folders import cache_folder

if TYPE_CHECKING:
    from batch_vision.operator.review.rows import Row
    from batch_vision.operator.stack import Stack

_DECODED_AT_ONCE = 4  # each may be a large image
_MOST_CACHED_BYTES = 1024**3
_REPLACED = "replaced, deleted or analyzed again since"
_VERSION = 2  # of what a card holds


class Cards:
    """Makes the card of an image: its thumbnail, mask and boxes."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._folder = cache_folder() / "thumbnails"
        self._decoding = threading.BoundedSemaphore(_DECODED_AT_ONCE)

    def prune(self) -> None:
        """Delete the cards that were not asked for the longest, until the others are a gigabyte."""
        files = []
        for path in self._folder.glob("*.json"):
            with suppress(OSError):
                stat = path.stat()
                files.append((stat.st_mtime, stat.st_size, path))
        left = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if left <= _MOST_CACHED_BYTES:
                break
            with suppress(OSError):
                path.unlink()
                left -= size

    def card(self, row: Row) -> dict[str, Any]:
        """Return what is shown of an image.

        Returns
        -------
        Data URIs ``thumbnail`` and ``mask``, or None; ``boxes``, each with its name, in ratios of the sides; ``size``
        of the image in pixels; ``missing``, why there is no thumbnail.
        """
        place = self._folder / f"{self._name(row)}.json"
        with suppress(OSError, ValueError, RecursionError):
            card = json.loads(place.read_bytes())
            os.utime(place)
            if isinstance(card, dict):
                return card
        card = self._make(row)
        if card["thumbnail"]:
            _write(place, json.dumps(card))
        return card

    def _name(self, row: Row) -> str:
        told = [_VERSION, self._stack.final_bucket_name, row.result, row.upload, row.fingerprint, row.finished_at]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    def _make(self, row: Row) -> dict[str, Any]:
        card: dict[str, Any] = {"thumbnail": None, "mask": None, "boxes": [], "size": None, "missing": ""}
        s3, bucket = self._stack.s3, self._stack.final_bucket_name
        result = self.result(row)
        if result is None:
            return card | {"missing": _REPLACED}
        boxes = [box_within(name, box) for name, box in marked_boxes(result.get("predictions") or [])]
        card["boxes"] = [box_line(box) for box in boxes if box]
        if row.size_bytes > MOST_BYTES:
            return card | {"missing": f"not shown: {row.size_bytes / 1024**2:,.0f} MiB"}
        image = found(s3.get_object, **image_place(bucket, result))
        if image is None:
            return card | {"missing": "the image is no longer in its bucket"}
        mask = found(s3.get_object, Bucket=bucket, Key=key) if (key := result.get("mask_key")) else None
        with self._decoding, room_for(row.size_bytes):
            try:
                thumbnail, _, card["size"] = make_thumbnail(image["Body"].read())
                card["thumbnail"] = data_uri(thumbnail)
            except UNREADABLE:
                return card | {"missing": "no picture that can be shown"}
            with suppress(*UNREADABLE):
                card["mask"] = mask and data_uri(make_mask(mask["Body"].read()))
        return card

    def result(self, row: Row) -> dict[str, Any] | None:
        """Return the result of an image; None where it is not the one that was listed any more."""
        key = row.result if row.fingerprint is not None else f"{row.result}.json"
        read = read_result(self._stack.s3, self._stack.final_bucket_name, key)
        return read[0] if read and is_of_line(read[0], row.as_line()) else None

    def image(self, row: Row) -> tuple[bytes, str] | None:
        """Return the image at full size and its media type; None where it cannot be shown."""
        result = self.result(row)
        if result is None or row.size_bytes > MOST_BYTES:
            return None
        answer = found(self._stack.s3.get_object, **image_place(self._stack.final_bucket_name, result))
        if answer is None:
            return None
        with self._decoding, room_for(row.size_bytes):
            try:
                return for_browser(answer["Body"].read())
            except UNREADABLE:
                return None


def _write(place: Path, text: str) -> None:
    """Write a file so that nobody sees half of it; without room for it, the card is made again the next time."""
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=place.parent)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
            Path(name).replace(place)
        except OSError:
            Path(name).unlink(missing_ok=True)
