"""What waits in the source bucket: the images there but those that are stuck."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from batch_vision.aws.uploads import list_objects, list_uploads
from batch_vision.core.stuck import stuck_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from mypy_boto3_s3 import S3Client

    from batch_vision.core.events import SourceImage
    from batch_vision.core.settings import BucketSettings


def list_waiting(s3: S3Client, places: BucketSettings, stuck: set[str]) -> Iterable[tuple[int, datetime]]:
    """List size in bytes and time of upload of the images that wait.

    Parameters
    ----------
    stuck
        The keys of the entries of stuck images. Only versions can be told from those, so where there is any, versions
        are listed.
    """
    if stuck:
        return ((image.size_bytes, image.uploaded_at) for image in list_waiting_uploads(s3, places, stuck))
    bucket = places.source_bucket_name
    objects = chain.from_iterable(list_objects(s3, bucket, prefix) for prefix in apart(places.source_prefixes))
    return ((entry["Size"], entry["LastModified"]) for entry in objects)


def list_waiting_uploads(s3: S3Client, places: BucketSettings, stuck: set[str]) -> Iterator[SourceImage]:
    """List every version that waits; see `list_waiting`."""
    for prefix in apart(places.source_prefixes):
        for image in list_uploads(s3, places.source_bucket_name, prefix):
            if stuck_key(image.key, image.version_id or "") not in stuck:
                yield image


def apart(prefixes: Sequence[str]) -> tuple[str, ...]:
    """Leave out a prefix whose keys are all under another one too, so that each is listed once."""
    return tuple(
        one
        for at, one in enumerate(prefixes)
        if not any(one.startswith(other) and (other != one or before < at) for before, other in enumerate(prefixes))
    )
