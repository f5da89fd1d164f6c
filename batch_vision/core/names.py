"""Under which names an image and its result go to the final bucket.

The name is the uploaded key, unless it does not fit into S3's 1,024 bytes with what is put around it, or it is
taken: by a newer upload of the same key, or by another object (the result of `a` and the image `a.json` would
be one object). Then a hash makes it another one. It never depends on chance, so a redelivery finds it again.
"""

from __future__ import annotations

import hashlib
import posixpath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batch_vision.core.events import SourceImage

MARK = "batch-vision"  # the metadata that says what of ours an object is
RESULT = "result"  # a result, which may have more metadata

KEY_LIMIT_BYTES = 1024  # of S3
_AROUND_BYTES = len("processed/") + len(".mask.png")
_NAME_LIMIT_BYTES = KEY_LIMIT_BYTES - _AROUND_BYTES
_LONGEST_SUFFIX_BYTES = 16


def names_for(image: SourceImage) -> tuple[str, str]:
    """Return the name to use, and the one for when that is taken."""
    return usual_name(image.key), _hashed(image.key, f"{image.key}\0{image.version_id}")


def usual_name(key: str) -> str:
    """Return the name that the newest upload of a key has."""
    return key if len(key.encode()) <= _NAME_LIMIT_BYTES else _hashed(key, key)


def result_key(key: str) -> str:
    """Return where the result of a key is whose image stays in its bucket: one place for each key.

    A key that leaves no room for the name has its hash instead, and stands in the result itself.
    """
    return name_in("results", key, ".json")


def name_in(folder: str, key: str, suffix: str = "") -> str:
    """Return the name of what is of a key, or one with its hash in a folder beside where S3 takes no name so long."""
    name = f"{folder}/{key}{suffix}"
    if len(name.encode()) <= KEY_LIMIT_BYTES:
        return name
    return f"{folder}-long/{hashlib.sha256(key.encode()).hexdigest()}{suffix}"


def partial_key(bucket: str, key: str, upload: str, fingerprint: str) -> str:
    """Return where the answers about an upload are kept until all are there.

    Parameters
    ----------
    upload
        What tells the upload from others of its key: its version id, where it has one.
    fingerprint
        Of the model and settings that the answers were made with.
    """
    identity = "\0".join((bucket, key, upload, fingerprint))
    return f"work/partial/{hashlib.sha256(identity.encode()).hexdigest()}.json"


def is_folder_marker(key: str, size_bytes: int) -> bool:
    """Return whether an object is a folder made in the console, an empty one whose key ends in `/`: it is no image."""
    return size_bytes == 0 and key.endswith("/")


def same_names_lock(key: str) -> str:
    """Return what all keys share whose result names may collide: `a`, `a.json`, `a.mask.png.json`."""
    while key.endswith((".json", ".mask.png")):
        key = key.removesuffix(".json").removesuffix(".mask.png")
    return key


def _hashed(key: str, identity: str) -> str:
    root, suffix = posixpath.splitext(key)
    if len(suffix.encode()) > _LONGEST_SUFFIX_BYTES:
        root, suffix = key, ""
    mark = f"~{hashlib.sha256(identity.encode()).hexdigest()[:12]}{suffix}"
    room = _NAME_LIMIT_BYTES - len(mark.encode())
    return root.encode()[:room].decode(errors="ignore") + mark
