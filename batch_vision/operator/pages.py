"""Pages: their files, and the policy that lets a page run and style nothing but its own."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files


def template(name: str) -> str:
    """Read a file of the tool's pages."""
    return (files("batch_vision.operator") / "templates" / name).read_text(encoding="utf-8")


def content_hash(text: str) -> str:
    """Name a text for a Content-Security-Policy: nothing else on the page is run or styled."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
