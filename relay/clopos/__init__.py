"""Everything that knows the Clopos API."""
