"""The console script `relay`: each command is a few lines that read options and settings and hand over."""

from relay.cli.base import main

__all__ = ["main"]
