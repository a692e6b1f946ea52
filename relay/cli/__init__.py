"""The console script `relay`: each command is a few lines that read options and settings and hand over."""

from relay.cli import keep, look, machine
from relay.cli.base import main

__all__ = ["keep", "look", "machine", "main"]
