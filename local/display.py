"""The display of the local commands is that of the operator's tool."""

from __future__ import annotations

from batch_vision.display import Display, Step

__all__ = ["Display", "Step"]
