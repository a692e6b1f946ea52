"""What does a partner's receiver do? It verifies each webhook, prints it in a line, and answers; to try things with."""

import asyncio
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import click
import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from relay import client, logs
from relay.core.signing import PUBLIC_PREFIX, VerifyingKey, parse_public_key, parse_secret, verify

LARGEST_BODY_BYTES: Final = 32 * 1024 * 1024
SECRET_VARIABLE: Final = "WEBHOOK_SECRET"  # noqa: S105 - where it may be, not what it is
_HANDED_ON: Final = ("content-type", "user-agent")
_IDS_KEPT: Final = 10_000
_BAD_GATEWAY: Final = 502
_COLOURS: Final = {"created": "green", "status_changed": "cyan", "updated": "blue", "removed": "magenta"}


@dataclass(frozen=True, slots=True)
class Receiver:
    """What to do with what comes.

    Attributes:
        keys: any one of them verifies; empty: nothing is verified, and each line says so.
        status: what to answer a verified webhook.
        forward: where to hand each on to; its status is the answer then. None: nowhere.
        show: is given each finished line.
        as_json: whether lines are JSON objects.
    """

    show: Callable[[str], None]
    keys: tuple[VerifyingKey, ...] = ()
    status: int = 200
    forward: str | None = None
    as_json: bool = False


@dataclass(slots=True)
class _Seen:
    """The ids that came, the latest last."""

    ids: dict[str, None] = field(default_factory=dict)

    def again(self, webhook_id: str) -> bool:
        """Note an id; say whether it was known."""
        known = webhook_id in self.ids
        self.ids[webhook_id] = None
        if len(self.ids) > _IDS_KEPT:
            del self.ids[next(iter(self.ids))]
        return known


def parse_key(text: str) -> VerifyingKey:
    """Read what verifies: the shared ``whsec_…`` or the public ``whpk_…``.

    Raises:
        ValueError: it is neither; the text follows the name and does not repeat the value.
    """
    return parse_public_key(text) if text.startswith(PUBLIC_PREFIX) else parse_secret(text)


def create_app(receiver: Receiver) -> Starlette:
    """Make the receiver's app: every POST is a webhook, whatever its path."""
    seen = _Seen()

    async def receive(request: Request) -> Response:
        body = await request.body()
        wrong = verify(receiver.keys, request.headers, body, now_s=time.time()) if receiver.keys else None
        line = {
            "received_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "verified": wrong is None if receiver.keys else None,
            "problem": wrong.detail if wrong else None,
            # An id is noted of what verifies alone: nobody else can have the real one taken for a repeat.
            "again": wrong is None and seen.again(request.headers.get("webhook-id", "")),
            "attempt": request.headers.get("relay-attempt"),
            "subscription": request.headers.get("relay-subscription"),
            "event": _parsed(body),
        }
        if wrong is not None:
            status: int | str = 401
        elif receiver.forward is not None:
            status = await client.hand_on(receiver.forward, headers=_handed_on(request), body=body)
        else:
            status = receiver.status
        line["answered"] = status
        receiver.show(_as_json(line) if receiver.as_json else describe(line))
        if isinstance(status, str):
            return JSONResponse({"error": f"forwarding failed: {status}"}, _BAD_GATEWAY)
        return Response(status_code=status)

    async def explain(_request: Request) -> Response:
        return PlainTextResponse("A receiver of webhooks: send them here by POST.\n")

    return Starlette(
        routes=[
            Route("/{path:path}", receive, methods=["POST"]),
            Route("/{path:path}", explain, methods=["GET"]),
        ],
        max_body_size=LARGEST_BODY_BYTES,
    )


def _handed_on(request: Request) -> dict[str, str]:
    prefixes = ("webhook-", "relay-")
    return {name: value for name, value in request.headers.items() if name in _HANDED_ON or name.startswith(prefixes)}


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _as_json(line: dict[str, Any]) -> str:
    try:
        return orjson.dumps(line).decode()
    except orjson.JSONEncodeError:  # nested deeper than it writes, which is not as deep as it reads
        return orjson.dumps({**line, "event": None}).decode()


def describe(line: dict[str, Any]) -> str:
    """Write one received webhook as a line for people, coloured, without personal data."""
    event = line["event"] if isinstance(line["event"], dict) else {}
    kind = str(event.get("type", "no event"))
    where = "/".join(str(event[name]) for name in ("brand", "venue_id") if event.get(name) is not None)
    words = [
        click.style(line["received_at"][11:19], dim=True),
        click.style(f"{_plain(kind):<21}", fg=_COLOURS.get(kind.rpartition(".")[2], "yellow"), bold=True),
        f"{_plain(where):<15}",
        f"{_plain(event.get('subject', '')):<12}",
        _plain(_summary(event)),
        click.style(_verdict(line), fg={True: "green", False: "red"}.get(line["verified"], "yellow")),
    ]
    if line["again"]:
        words.append(click.style("again", fg="yellow"))
    if line["attempt"] not in (None, "1"):
        words.append(click.style(f"attempt {_plain(line['attempt'])}", fg="yellow"))
    words.append(click.style(f"→ {line['answered']}", dim=True))
    return "  ".join(word for word in words if word.strip())


def _plain(value: Any) -> str:
    return logs.printable(str(value))


def _verdict(line: dict[str, Any]) -> str:
    if line["verified"] is None:
        return "not verified (no --secret)"
    return "verified" if line["verified"] else f"REFUSED: {line['problem']}"


def _summary(event: dict[str, Any]) -> str:
    """What happened, in a few words."""
    data = event.get("data")
    if not isinstance(data, dict):
        return ""
    things = [data[name] for name in ("order", "station", "venue") if isinstance(data.get(name), dict)]
    thing: dict[str, Any] = things[0] if things else {}
    words = []
    status, before = thing.get("status"), data.get("previous_status")
    if status is not None:
        words.append(f"{before} → {status}" if before not in (None, status) else str(status))
    changes = data.get("changes")
    if isinstance(changes, dict) and (fields := [name for name in changes if name not in ("status", "source_status")]):
        words.append(f"({', '.join(fields)})")
    items = thing.get("items")
    if isinstance(items, list) and items:
        words.append(f"{len(items)} item{'s' if len(items) > 1 else ''}")
    if thing.get("total") is not None:
        words.append(f"{thing['total']} {thing.get('currency') or ''}".strip())
    return " ".join(words) or str(thing.get("name") or data.get("message") or data.get("reason") or "")


class _Server(uvicorn.Server):
    """Leaves signals to whoever runs it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run(receiver: Receiver, *, sock: socket.socket) -> None:
    """Serve on a bound socket until SIGINT or SIGTERM, and return then."""
    config = uvicorn.Config(
        create_app(receiver),
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    asyncio.run(_serve(_Server(config), sock))


async def _serve(server: uvicorn.Server, sock: socket.socket) -> None:
    def stop() -> None:
        server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    await server.serve(sockets=[sock])
