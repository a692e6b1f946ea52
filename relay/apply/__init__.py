"""How does a YAML file become brands and subscriptions? It is read, compared with what is there, and called."""

from relay.apply.file import FileWrongError, Wanted, read_file
from relay.apply.plan import Step, plan
from relay.apply.run import Done, apply, describe, summary
from relay.apply.schema import file_schema

__all__ = [
    "Done",
    "FileWrongError",
    "Step",
    "Wanted",
    "apply",
    "describe",
    "file_schema",
    "plan",
    "read_file",
    "summary",
]
