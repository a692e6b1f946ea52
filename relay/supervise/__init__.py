"""Everything about running the relay on one machine: its processes, its embedded Redis, its data directory."""
