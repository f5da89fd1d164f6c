"""Run as ``python -m batch_vision``; installed, the command is ``batch-vision``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command; Ctrl-C ends it with a sentence, while it is being imported too."""
    try:
        from batch_vision.operator.cli import main as command

        command()
    except KeyboardInterrupt:
        sys.stderr.write("batch-vision: interrupted.\n")
        sys.exit(130)  # what a shell says of a command that Ctrl-C ended


if __name__ == "__main__":
    main()
