"""Images that were given up until somebody looks: one small object in the final bucket for each.

An entry starts nothing and blocks nothing. `batch-vision retry` deletes it and sends the image's message again.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from batch_vision.core.times import to_text

if TYPE_CHECKING:
    from datetime import datetime

    from batch_vision.core.events import SourceImage

PREFIX = "stuck/"
SCHEMA_VERSION = 1


def stuck_key(key: str, version_id: str) -> str:
    """Return the key of an upload's entry in the final bucket; it depends on nothing but the upload."""
    return f"{PREFIX}{hashlib.sha256(f'{key}\0{version_id}'.encode()).hexdigest()}.json"


def stuck_entry(image: SourceImage, error: BaseException, remedy: str, given_up_at: datetime) -> dict[str, Any]:
    """Return the entry of an upload that is given up.

    Parameters
    ----------
    error
        What made it fail the last time.
    remedy
        One sentence for the operator: what to mend before ``batch-vision retry``.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "source": {
            "bucket": image.bucket,
            "key": image.key,
            "version_id": image.version_id,
            "etag": image.etag,
            "size_bytes": image.size_bytes,
            "uploaded_at": to_text(image.uploaded_at),
        },
        "error": {"type": type(error).__name__, "message": str(error)},
        "remedy": remedy,
        "given_up_at": to_text(given_up_at),
    }
