"""What do all commands share? Settings, messages on stderr, exit codes, JSON."""

import os
import sys
from typing import Any, NoReturn

import click

from relay import __version__, logs
from relay.core.errors import RelayError
from relay.settings import Role, Settings, SettingsError, load_settings

DONE = 0
FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130  # as a shell counts Ctrl-C


class _Commands(click.Group):
    """Turns what went wrong into a message on stderr and an exit code; a traceback is for faults of ours only."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SettingsError as wrong:
            quit_with(WRONG_USAGE, *wrong.problems)
        except RelayError as wrong:
            quit_with(FAILED, wrong.message)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        except Exception as fault:
            if not logs.configured():
                raise
            logs.event("fault", level="error", exc=fault)
            sys.exit(FAILED)


def quit_with(code: int, *messages: str) -> NoReturn:
    """End the process with messages on stderr."""
    for line in "\n".join(messages).split("\n"):
        click.echo(f"relay: {logs.printable(line)}", err=True)
    sys.exit(code)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="relay")
def main() -> None:
    """Webhooks for Clopos: polls the point of sale, pushes what changed to partners."""


def read_settings(needs: Role, *, service: bool = False, **always: Any) -> Settings:
    """Read the settings, and set up the log where the process is to stay."""
    settings = load_settings(os.environ, role=needs)
    if service:
        logs.configure(settings.log_format, **always)
    for warning in settings.warnings:
        if service:
            logs.event("settings", level="warning", message=warning)
        else:
            click.echo(f"relay: {warning}", err=True)
    return settings


as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
