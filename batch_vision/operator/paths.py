"""Paths for the objects of a bucket: no two objects share one, on any file system.

A key is any text, and a path is not: ``a//b`` and ``a/b`` are one file, so are ``A`` and ``a`` where the file system
folds case, and ``c:`` is none on Windows.
"""

from __future__ import annotations

import hashlib
import unicodedata
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from batch_vision.core.videos import ANSWER_FILES
from batch_vision.operator.cost import VIDEO_ANALYSES

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

_SEGMENT_BYTES = 255  # most file systems; those that count UTF-16 units take at least as much
# What is put beside an image, or a video, under its name.
SUFFIXES = (".json", ".mask.png")
VIDEO_FILES = {kind: f".{end}" for kind, end in ANSWER_FILES.items()}  # of each analysis
VIDEO_SUFFIXES = (
    ".json",
    *(f".{analysis}{suffix}" for analysis in VIDEO_ANALYSES for suffix in VIDEO_FILES.values()),
)
_SHOWN_CHARACTERS = 40
_LONGEST_SUFFIX_BYTES = 16
# The percent sign, so that no two keys are encoded alike; the others are what Windows forbids.
_ENCODED = frozenset('%\\:*?"<>|')
_ENCODED_CATEGORIES = ("Cc", "Cs", "Zl", "Zp")  # controls, halves of surrogate pairs, separators of lines
# Microsoft, "Naming Files, Paths, and Namespaces": with any suffix, too.
_DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in "123456789¹²³")}


def plain_path(key: str) -> str:
    """Return the path of an object: its key, but for what is no plain name, which is percent-encoded."""
    return "/".join(_encoded(segment) for segment in key.split("/"))


def fits(path: str, suffixes: Sequence[str] = SUFFIXES) -> bool:
    """Return whether a file system takes the names of a path, and those of what is put beside it."""
    *folders, name = path.split("/")
    longest = len(name.encode()) + max(len(suffix) for suffix in suffixes)
    return longest <= _SEGMENT_BYTES and all(len(folder.encode()) <= _SEGMENT_BYTES for folder in folders)


def other_path(key: str, version_id: str = "") -> str:
    """Return a short path that no other object has: the beginning of the name, and a hash of key and version."""
    top, _, name = key.rpartition("/")
    suffix = PurePosixPath(name).suffix
    if len(suffix.encode(errors="replace")) > _LONGEST_SUFFIX_BYTES:
        suffix = ""
    shown = _encoded(name.removesuffix(suffix)[:_SHOWN_CHARACTERS].rstrip(" .") or "~")
    identity = f"{key}\0{version_id}".encode(errors="surrogatepass")
    # No plain path has such a percent sign, so nobody's key can be this path.
    name = f"{shown}%~{hashlib.sha256(identity).hexdigest()[:20]}{_encoded(suffix) if suffix else ''}"
    # All in the first folder, which tells processed from rejected: what is in the way may be a folder of the key.
    return f"{_encoded(top.partition('/')[0])}/{name}" if top else name


class Places:
    """Which paths of a folder are taken, as the least of file systems tells names apart."""

    def __init__(self) -> None:
        self._taken: dict[str, Hashable] = {}
        self._folders: set[str] = set()

    def take(self, key: str, owner: Hashable = None, suffixes: Sequence[str] = SUFFIXES) -> str | None:
        """Return the plain path of an object; None where it is too long, or another object has what it needs.

        Parameters
        ----------
        owner
            Whose the path is to be; None for the key itself.
        suffixes
            What is put beside it, under its name.
        """
        path, owner = plain_path(key), owner or key
        if not fits(path, suffixes):
            return None
        files = [_folded(f"{path}{suffix}") for suffix in ("", *suffixes)]
        folders = [str(folder) for folder in PurePosixPath(files[0]).parents][:-1]
        if any(self._taken.get(file, owner) != owner or file in self._folders for file in files):
            return None
        if any(folder in self._taken for folder in folders):
            return None
        self._taken |= dict.fromkeys(files, owner)
        self._folders.update(folders)
        return path


def _encoded(segment: str) -> str:
    if segment in ("", ".", ".."):
        return _percent(segment or "/")  # a slash is in no segment, so this can stand for an empty one
    device = segment.partition(".")[0].rstrip(" ").upper() in _DEVICES
    last = len(segment) - 1
    return "".join(
        _percent(one) if _is_encoded(one) or (at == 0 and device) or (at == last and one in " .") else one
        for at, one in enumerate(segment)
    )


def _is_encoded(one: str) -> bool:
    return one in _ENCODED or unicodedata.category(one) in _ENCODED_CATEGORIES


def _percent(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode(errors="surrogatepass"))


def _folded(path: str) -> str:
    """Return what file systems that fold case and Unicode forms know a path by."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())
