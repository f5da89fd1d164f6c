"""Run as ``python -m batch_vision``; installed, the command is ``batch-vision``."""

from __future__ import annotations

from batch_vision.operator.cli import main

if __name__ == "__main__":
    main()
