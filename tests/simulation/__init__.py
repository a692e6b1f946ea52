"""A seeded simulation: the real core, pipeline and scripts on a real Redis, in virtual time, with faults everywhere."""
