"""The stand-in for Clopos Open API v2; it imports nothing from the rest, so that the two cannot share a mistake."""
