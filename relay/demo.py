"""What does the relay look like at work? All of it on one machine, Clopos and a partner too; nothing to configure."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import orjson

from relay import logs
from relay.client import Client
from relay.core.errors import OursError
from relay.core.signing import SECRET_BYTES, new_secret
from relay.receive import SECRET_VARIABLE, describe
from relay.sandbox import documented
from relay.sandbox.app import API_ROOT
from relay.settings import Settings
from relay.supervise.data_dir import DataDir
from relay.supervise.processes import Child, Supervisor
from relay.supervise.up import (
    DEMO,
    Crew,
    child_environ,
    listen,
    reachable_url,
    role_command,
    start_up,
    why_not_free,
    with_keys,
)

SANDBOX_PORT: Final = 8090
RECEIVER_PORT: Final = 9000
_NEAR: Final = "127.0.0.1"
_CREW: Final = Crew(queues=("poll", "deliver", "maintain"), processes=1, concurrency=20)


class DemoError(OursError):
    """The demo did not come up."""

    default_reason = "demo"


async def run_demo(
    settings: Settings, *, environ: Mapping[str, str], show: Callable[[str], None], verbose: bool
) -> int:
    """Run the demo until told to stop.

    Args:
        settings: of role demo.
        environ: of this process.
        show: prints a line on stdout.
        verbose: whether what the processes log is shown, too.

    Returns:
        The exit code.

    Raises:
        DemoError, ApiError, DataDirError, NoRedisServerError: it did not come up.
    """
    data_dir = DataDir(settings.data_dir)
    port = _free_port(settings.host, settings.port, show)
    settings = replace(with_keys(settings), redis_url="", port=port, log_format="console")
    sandbox_port, receiver_port = (_free_port(_NEAR, port, show) for port in (SANDBOX_PORT, RECEIVER_PORT))
    demo = Demo(
        api=reachable_url(settings.host, settings.port),
        sandbox=reachable_url(_NEAR, sandbox_port),
        receiver=f"{reachable_url(_NEAR, receiver_port)}/",
        secret=new_secret(secrets.token_bytes(SECRET_BYTES)),
    )
    networks = ",".join(filter(None, (str(settings.allow_networks), "127.0.0.0/8")))
    place = data_dir.redis(DEMO, lasting=False)
    values = {
        "RELAY_DATA_DIR": str(place.path),  # what they remember is not the lasting relay's
        "RELAY_PORT": str(settings.port),
        "RELAY_ALLOW_NETWORKS": networks,
        "RELAY_CLOPOS_URL": demo.clopos_url,
        SECRET_VARIABLE: demo.secret,
    }
    environ = child_environ(environ, values)
    supervisor = Supervisor(show=partial(_show, show, verbose))
    supervisor.stop_on_signals()
    try:
        supervisor.start(
            _child(environ, "sandbox", "--port", str(sandbox_port), "--scenario", "evening"),
            _child(environ, "receive", "--port", str(receiver_port), "--json"),
        )
        ready = await start_up(settings, _CREW, supervisor, place=place, environ=environ)
        if ready:
            await demo.register(settings.admin_token)
            for line in demo.lines(settings.admin_token, data_dir.admin_token_file):
                show(line)
            await supervisor.asked_to_stop.wait()
        elif not supervisor.asked_to_stop.is_set():
            raise DemoError("the demo did not come up: `relay demo --verbose` shows what its processes say")
    finally:
        await supervisor.stop()
    return supervisor.exit_code


@dataclass(frozen=True, slots=True)
class Demo:
    """Where everything is, and what they share.

    Attributes:
        secret: what the webhooks are signed with.
    """

    api: str
    sandbox: str
    receiver: str
    secret: str

    @property
    def clopos_url(self) -> str:
        """Return the stand-in's API."""
        return self.sandbox + API_ROOT

    async def register(self, token: str) -> None:
        """Tell the relay of the brand to look at and of the partner to tell.

        Raises:
            ApiError: the relay refused.
        """
        async with Client(self.api, token) as client:
            await client.call(
                "POST",
                "/v1/subscriptions",
                json={"name": "demo", "url": self.receiver, "event_types": ["*"], "secret": self.secret},
            )
            await client.call(
                "POST",
                "/v1/brands",
                json={
                    "brand": documented.BRAND,
                    "client_id": documented.CLIENT_ID,
                    "client_secret": documented.CLIENT_SECRET,
                    "integrator_id": documented.INTEGRATOR_ID,
                    "clopos_url": self.clopos_url,
                    "currency": "AZN",
                },
            )

    def lines(self, token: str, token_file: Path) -> list[str]:
        """Write what there is to look at."""
        curl = f'curl -H "Authorization: Bearer {token}"'
        return [
            "",
            f"  API         {self.api}  (what it can do: {self.api}/docs)",
            f"  UI          {self.api}/ui",
            f"  token       {token}  (kept in {token_file})",
            f"  Clopos      {self.sandbox}  (a stand-in; act as the restaurant: {self.sandbox}/control)",
            f"  receiver    {self.receiver}",
            "",
            f"  {curl} {self.api}/v1/brands/{documented.BRAND}",
            f'  {curl} "{self.api}/v1/events?limit=5"',
            "",
            "Webhooks as they arrive and are verified; Ctrl-C ends it all:",
            "",
        ]


def _child(environ: Mapping[str, str], *words: str) -> Child:
    return Child(name=words[0], command=role_command(*words), environ=environ)


def _show(show: Callable[[str], None], verbose: bool, name: str, channel: str, line: str) -> None:  # noqa: FBT001 - bound first
    """Show the webhooks; the rest is log."""
    if name == "receive" and channel == "out":
        show(describe(orjson.loads(line)))
    elif verbose and channel == "err":
        logs.pass_on(name, line)


def _free_port(host: str, wanted: int, show: Callable[[str], None]) -> int:
    """Choose the port that was wanted, or say that it is taken and take another."""
    if why_not_free(host, wanted) is None:
        return wanted
    with listen(host, 0) as sock:
        port: int = sock.getsockname()[1]
    show(f"port {wanted} is taken: using {port}")
    return port
