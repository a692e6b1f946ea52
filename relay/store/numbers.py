"""What does a key hold that should hold a number? What somebody else put in its place counts as none."""


def number(found: bytes | None) -> int:
    """Read a whole number; 0 where there is none, or something else."""
    try:
        return int(found or 0)
    except ValueError:
        return 0
