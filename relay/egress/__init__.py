"""Everything that calls partners."""
