"""Commands that run something on this machine until it is told to stop; and the probe of what runs."""

import asyncio
import difflib
import os
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from relay import logs
from relay.cli.base import DONE, FAILED, as_json_option, main, quit_with, read_settings
from relay.core.clopos_urls import check_http_url
from relay.settings import Role, Settings, SettingsError

QUEUES = ("poll", "deliver", "maintain")

_Function = TypeVar("_Function", bound=Callable[..., Any])

_processes = click.option(
    "--processes", type=click.IntRange(1, 64), default=1, show_default=True, help="Worker processes for each queue."
)
_concurrency = click.option(
    "--concurrency",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    help="How much each worker process does at once.",
)


@main.command(
    examples={
        "demo": "See webhooks arrive within seconds.",
        "demo --verbose": "And what the processes say meanwhile.",
    }
)
@click.option("--verbose", is_flag=True, help="Show what the processes log, too.")
def demo(*, verbose: bool) -> None:
    """See it all at work, with nothing to configure. Everything runs on this machine, Clopos and a partner too."""
    from relay.demo import run_demo

    settings = read_settings(Role.DEMO)
    logs.configure("console")
    show = logs.Writer(sys.stdout).msg if sys.stdout.isatty() else _plain(logs.Writer(sys.stdout).msg)
    sys.exit(asyncio.run(run_demo(settings, environ=os.environ, show=show, verbose=verbose)))


def _plain(show: Callable[[str], None]) -> Callable[[str], None]:
    return lambda line: show(click.unstyle(line))


@main.command(
    examples={
        "up": "Run a relay here; it prints where the page is, and where the token.",
        "up --processes 2": "Two workers for each queue.",
    }
)
@_processes
@_concurrency
def up(processes: int, concurrency: int) -> None:
    """Run a relay on this machine. API, scheduler, workers, and a Redis unless RELAY_REDIS_URL is set."""
    from relay.supervise.up import Crew, run_up

    settings = read_settings(Role.UP, service=True, role="up")
    sys.exit(asyncio.run(run_up(settings, Crew(QUEUES, processes, concurrency), environ=os.environ)))


@main.command(
    examples={
        "api": "With RELAY_REDIS_URL, RELAY_SECRET_KEYS and RELAY_ADMIN_TOKEN set: the API of many machines.",
    }
)
def api() -> None:
    """Run the admin API, the pull endpoint, /metrics and the UI."""
    from relay.api.serve import run

    settings = read_settings(Role.API, service=True, role="api")
    _refuse_lost_keys(settings)
    sys.exit(run(settings))


@main.command(
    examples={
        "scheduler": "With RELAY_REDIS_URL and RELAY_SECRET_KEYS set.",
    }
)
def scheduler() -> None:
    """Run the scheduler; any number may run, one is at work."""
    from workers.scheduler import run

    sys.exit(run(read_settings(Role.SCHEDULER, service=True, role="scheduler")))


def _refuse_lost_keys(settings: Settings) -> None:
    """Refuse to start with keys that do not open what is stored: nothing could be signed, and nobody signed in."""
    from relay.store.rekey import find_lost_at
    from relay.store.vault import Vault

    lost = asyncio.run(find_lost_at(settings.redis_url, Vault(settings.secret_keys)))
    if lost:
        advice = "put the key that sealed them back, after the first; or give them up with `relay rekey --forget-lost`"
        raise SettingsError([f"RELAY_SECRET_KEYS does not open the secrets of {', '.join(lost)}: {advice}"])


def _check_choice(name: str, choices: Collection[str], what: str) -> None:
    if name not in choices:
        near = difflib.get_close_matches(name, choices, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise click.BadParameter(f"{name!r} is no {what}: choose of {', '.join(choices)}.{hint}")


def _queues(_context: click.Context, _option: click.Parameter, text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        _check_choice(name, QUEUES, "queue")
    return names


@main.command(
    examples={
        "worker": "One process for each of the three queues.",
        "worker --queues deliver --processes 4": "Four that deliver.",
        "worker --queues poll,maintain --concurrency 20": "The other two, each doing less at once.",
    }
)
@click.option("--queues", callback=_queues, default=",".join(QUEUES), show_default=True, help="Which, comma-separated.")
@_processes
@_concurrency
def worker(queues: tuple[str, ...], processes: int, concurrency: int) -> None:
    """Run workers. One process for one queue, or several that this one keeps running."""
    if len(queues) * processes > 1:
        from relay.supervise.up import Crew, run_workers

        settings = read_settings(Role.WORKER, service=True, role="workers")
        sys.exit(asyncio.run(run_workers(settings, Crew(queues, processes, concurrency), environ=os.environ)))
    from workers.post import Post
    from workers.process import work
    from workers.shifts import shifts

    settings = read_settings(Role.WORKER, service=True, role="worker", queue=queues[0])
    _refuse_lost_keys(settings)
    signal.signal(signal.SIGINT, lambda *_: signal.raise_signal(signal.SIGTERM))  # Ctrl-C, where nobody stands above
    sys.exit(work(Post(settings=settings, kind=queues[0], concurrency=concurrency), shifts))


@main.command(
    examples={
        "health worker": "As a liveness probe.",
        "health scheduler": "As the scheduler's.",
    }
)
@click.argument("role", type=click.Choice(["worker", "scheduler"]))
def health(role: str) -> None:
    """Say whether a worker or scheduler here lives. Exit 0, else 1: for probes."""
    from workers.health import check

    found = check(role, data_dir=read_settings(Role.PROBE).data_dir, now_s=time.monotonic())
    click.echo(found.reason, err=not found.fresh)
    sys.exit(DONE if found.fresh else FAILED)


def _http_url(_context: click.Context, _option: click.Parameter, text: str | None) -> str | None:
    try:
        return text and check_http_url(text)
    except ValueError as wrong:
        raise click.BadParameter(f"{text!r} {wrong}") from None


def _keys(_context: click.Context, _option: click.Parameter, texts: tuple[str, ...]) -> tuple[Any, ...]:
    from relay.receive import parse_key

    try:
        return tuple(parse_key(text) for text in texts)
    except ValueError as wrong:
        raise click.BadParameter(f"the secret {wrong}") from None


def _scenario(_context: click.Context, _option: click.Parameter, name: str) -> str:
    from relay.sandbox.scenario import PROFILES

    _check_choice(name, PROFILES, "scenario")
    return name


def _port(default: int) -> Callable[[_Function], _Function]:
    return click.option("--port", type=click.IntRange(0, 65_535), default=default, show_default=True, help="0: any.")


_host = click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")


@main.command(
    examples={
        "sandbox": "A brand with two venues, and nothing happening but what you do at /control.",
        "sandbox --scenario evening --seed 7": "An evening of orders; the same seed makes the same ones.",
    }
)
@_host
@_port(8090)
@click.option(
    "--scenario",
    callback=_scenario,
    default="none",
    show_default=True,
    help="What happens by itself: evening, rush, quiet.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed makes the same orders.")
def sandbox(host: str, port: int, scenario: str, seed: int) -> None:
    """Run a stand-in for Clopos, to try things with."""
    from relay.sandbox.serve import run

    with _explained_port(host, port):
        run(host, port, scenario, seed, echo=click.echo)


@main.command(
    examples={
        "receive --secret whsec_…": "Print what arrives, verified.",
        "receive --forward http://127.0.0.1:3000/hooks": "Hand each on to a server of yours, and answer as it does.",
        "receive --status 503": "Be a partner in trouble.",
    }
)
@_host
@_port(9000)
@click.option(
    "--secret",
    "keys",
    callback=_keys,
    multiple=True,
    envvar="WEBHOOK_SECRET",
    show_envvar=True,
    help="whsec_… or whpk_…; several while one is rotated.",
)
@click.option("--status", type=click.IntRange(200, 599), default=200, show_default=True, help="What to answer.")
@click.option("--forward", callback=_http_url, help="Hand each webhook to this URL and answer as it does.")
@as_json_option
def receive(host: str, port: int, keys: tuple[Any, ...], status: int, forward: str | None, *, as_json: bool) -> None:
    """Receive webhooks as a partner would. Each is verified, printed, answered."""
    from relay.receive import Receiver, run
    from relay.supervise.up import listen

    with _explained_port(host, port), listen(host, port) as sock:
        click.echo(f"Receiving at http://{host}:{sock.getsockname()[1]}/ (Ctrl-C ends it)", err=True)
        run(Receiver(click.echo, keys=keys, status=status, forward=forward, as_json=as_json), sock=sock)


@contextmanager
def _explained_port(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as wrong:
        quit_with(FAILED, f"cannot listen on {host} port {port} ({wrong.strerror}): choose another with --port")
