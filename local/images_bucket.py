"""An existing bucket of images: local running plays its owner, who makes it and turns EventBridge on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from local.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from mypy_boto3_s3 import S3Client

# S3 user guide, General purpose bucket naming rules; the rest of them S3 checks itself.
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


@dataclass(frozen=True, slots=True)
class ImagesBucket:
    """A bucket that stays its owner's."""

    name: str
    is_versioned: bool = False


def choose_bucket(name: str | None, versioned: str | None, values: Mapping[str, Any]) -> ImagesBucket | None:
    """Return the existing bucket that the user wants; None for a drop-off bucket of the module's own.

    Parameters
    ----------
    name, versioned
        IMAGES_BUCKET and VERSIONED, where they were given.
    values
        The user's own values of the module's variables; their ``images_bucket_name`` counts like IMAGES_BUCKET.

    Raises
    ------
    LocalError
        An argument is wrong, or the two names differ.
    """
    named = values.get("images_bucket_name")
    if name is not None and named not in (None, name):
        raise LocalError(
            f'TFVARS: images_bucket_name is "{named}", and IMAGES_BUCKET={name} was given. Leave one of them out.'
        )
    wanted = name or named
    if versioned not in (None, "0", "1"):
        raise LocalError(f"VERSIONED={versioned} is not known. Use 1 for a versioned bucket, or 0.")
    if wanted is None:
        if versioned is not None:
            raise LocalError(
                f"VERSIONED={versioned} is about the bucket IMAGES_BUCKET, which was not given. Give its name, or leave"
                " VERSIONED out."
            )
        return None
    if _NAME.fullmatch(str(wanted)) is None:
        raise LocalError(
            f"IMAGES_BUCKET={wanted} is no name of a bucket. Use 3 to 63 lower-case letters, digits, dots and hyphens,"
            " with a letter or digit at both ends."
        )
    return ImagesBucket(str(wanted), versioned == "1")


def make_bucket(s3: S3Client, bucket: ImagesBucket) -> None:
    """Make a bucket as its owner would, and have it send its events to EventBridge.

    Raises
    ------
    LocalError
        S3 refuses it: its own message.
    """
    try:
        s3.create_bucket(Bucket=bucket.name)
        if bucket.is_versioned:
            s3.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"})
        s3.put_bucket_notification_configuration(
            Bucket=bucket.name, NotificationConfiguration={"EventBridgeConfiguration": {}}
        )
    except ClientError as error:
        raise LocalError(f"IMAGES_BUCKET={bucket.name} cannot be made: {error}. Use another name.") from error
