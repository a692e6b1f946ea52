"""`python -m relay.cli` is `relay`: how a supervisor starts the other processes."""

from relay.cli import main

main(prog_name="relay")
