"""clopos-relay: webhooks for Clopos, a point of sale that has none."""

from importlib.metadata import version

__version__ = version("clopos-relay")
