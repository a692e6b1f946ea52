"""How generated cases are drawn: the same ones every time, and without a deadline, as the machine may be busy."""

from hypothesis import settings

settings.register_profile("relay", deadline=None, derandomize=True, database=None)
settings.load_profile("relay")
