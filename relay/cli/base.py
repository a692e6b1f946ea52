"""What do all commands share? Settings, messages on stderr, exit codes, JSON."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, NoReturn

import click
import orjson

from relay import __version__, logs
from relay.core.errors import RelayError
from relay.settings import Role, Settings, SettingsError, load_settings

DONE = 0
FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130  # as a shell counts Ctrl-C


MODULES = {
    "relay.cli.machine": ("api", "demo", "health", "receive", "sandbox", "scheduler", "up", "worker"),
    "relay.cli.look": ("brands", "dead", "deliveries", "events", "replay", "subscriptions"),
    "relay.cli.keep": ("apply", "check", "rekey"),
}
"""Where each command is; a module is imported when one of its commands is called, or all are listed."""


class _Command(click.Command):
    """A command whose help shows what it is typed like, before it lists every option.

    Args:
        examples: what is typed after `relay`, and what that does.
    """

    def __init__(self, *args: Any, examples: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_help_text(ctx, formatter)
        with formatter.section("Examples"):
            for words, meaning in self.examples.items():
                formatter.write(f"{' ' * formatter.current_indent}relay {words}".rstrip() + "\n")
                formatter.indent()
                formatter.write_text(meaning)
                formatter.dedent()


class _Commands(click.Group):
    """Turns what went wrong into a message on stderr and an exit code; a traceback is for faults of ours only."""

    command_class = _Command

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return sorted(name for names in MODULES.values() for name in names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        homes = [module for module, names in MODULES.items() if cmd_name in names]
        for module in homes or MODULES:  # a name that is none of them needs all, for a suggestion
            import_module(module)
        return super().get_command(ctx, cmd_name)

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


HELP = """Webhooks for Clopos: polls the point of sale, pushes what changed to partners.

\b
See it work, nothing to configure:   relay demo
To a receiver of your own:           relay sandbox · relay up · relay apply relay.yaml
What a command is typed like:        relay COMMAND --help
"""
COMPLETION = """\b
Completion with the tab key, in this shell (for all to come: put the line into the file that it reads at its start):
  bash   eval "$(_RELAY_COMPLETE=bash_source relay)"
  zsh    eval "$(_RELAY_COMPLETE=zsh_source relay)"
  fish   _RELAY_COMPLETE=fish_source relay | source"""


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help=HELP,
    epilog=COMPLETION,
)
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


def print_json(value: Any, *, readable: bool = False) -> None:
    """Print one JSON document: on a line of its own, or indented."""
    click.echo(orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2 if readable else 0))


class Table:
    """Rows for people: headings, columns as wide as they need, what is missing as a dash.

    Args:
        columns: heading -> what of a row stands there.
    """

    def __init__(self, columns: Mapping[str, Callable[[Mapping[str, Any]], Any]]) -> None:
        self._columns = columns
        self._widths = [len(heading) for heading in columns]

    def print(self, rows: Sequence[Mapping[str, Any]], *, heading: bool = True) -> None:
        """Print some rows; those that follow later stand under the same headings."""
        cells = [[_cell(read(row)) for read in self._columns.values()] for row in rows]
        self._widths = [max(map(len, column)) for column in zip(map(" ".__mul__, self._widths), *cells, strict=True)]
        for line in ([*self._columns], *cells) if heading else cells:
            click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, self._widths, strict=True)).rstrip())


def print_table(columns: Mapping[str, Callable[[Mapping[str, Any]], Any]], rows: Sequence[Mapping[str, Any]]) -> None:
    """Print one table."""
    Table(columns).print(rows)


def _cell(value: Any) -> str:
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case list():
            return ",".join(map(_cell, value)) or "-"
    return logs.printable(str(value))


as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
