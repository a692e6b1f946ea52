"""One request to Clopos and its answer: within a deadline, up to a size, to one host, without cookies or proxies.

What goes wrong on the way is translated here, and only here, into ``NoAnswerError``.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.metadata import version
from typing import Any, Final

import httpx2 as httpx
import orjson

from relay.core.addresses import NOWHERE, Address, Networks, check_answers
from relay.core.clopos_urls import is_loopback_name, literal_address
from relay.core.errors import NoAnswerError

MAX_BODY_BYTES: Final = 32 * 1024 * 1024
"""A longer answer is dropped unread: 200 rows of the documented size have 0.3 MB, the largest on record 20 MB."""

CONNECT_S: Final = 5.0
"""Deadline of a connection, TLS included; the deadline of the request goes on counting."""

_USER_AGENT: Final = f"clopos-relay/{version('clopos-relay')}"


@dataclass(frozen=True, slots=True)
class Request:
    """What to send.

    Attributes:
        url: absolute, without query.
        params: of the query, in order.
        headers: may hold the token, so they are not shown.
        json: the body; None for none.
    """

    method: str
    url: str
    params: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    json: Mapping[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whole.

    Attributes:
        headers: names in lower case; of a repeated one the last.
        body: holds personal data, so it is not shown.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class Transport:
    """The connections of one process to Clopos; close it with ``aclose``.

    Args:
        tls: None for the machine's own trust.
        max_connections: at once.
        allow: the operator's networks: beside loopback the only ones that credentials go to over plain http.
        lookup: the addresses of a host name; raises ``OSError``. None: the machine's own resolver.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        max_connections: int = 128,
        allow: Networks = NOWHERE,
        lookup: Callable[[str], Awaitable[Sequence[Address]]] | None = None,
    ) -> None:
        self._allow = allow
        self._lookup = lookup or _lookup
        self._http = httpx.AsyncClient(
            verify=tls if tls is not None else ssl.create_default_context(),
            trust_env=False,
            follow_redirects=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            timeout=httpx.Timeout(None, connect=CONNECT_S),
            limits=httpx.Limits(max_connections=max_connections, max_keepalive_connections=max_connections),
            headers={"user-agent": _USER_AGENT, "accept": "application/json", "accept-encoding": "identity"},
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def exchange(self, request: Request, *, deadline_s: float) -> Answer:
        """Send a request and read its answer to the end.

        Args:
            request: what to send.
            deadline_s: for all of it: a free connection, connecting, sending, and the last byte of the answer.

        Raises:
            NoAnswerError: ``dns``, ``tls``, ``insecure``, ``connect``, ``reset``, ``truncated``, ``timeout`` or
                ``oversize``.
        """
        body = None if request.json is None else orjson.dumps(request.json)
        headers = dict(request.headers)
        if body is not None:
            headers["content-type"] = "application/json"
        try:
            async with asyncio.timeout(deadline_s), self._sent(request, headers, body) as response:
                return Answer(response.status_code, _lowered(response.headers), await _read(response))
        except TimeoutError:
            raise NoAnswerError(f"Clopos did not answer within {deadline_s:g} s.", reason="timeout") from None
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError) as error:
            raise _no_answer(error) from None

    @asynccontextmanager
    async def _sent(
        self, request: Request, headers: Mapping[str, str], body: bytes | None
    ) -> AsyncIterator[httpx.Response]:
        url = httpx.URL(request.url)
        if url.scheme == "http":
            await self._refuse_open_way(url.host)
        async with self._http.stream(
            request.method, url, params=list(request.params) or None, headers=headers, content=body
        ) as response:
            yield response

    async def _refuse_open_way(self, host: str) -> None:
        """Refuse plain http to a name that leads out of the operator's networks; other URLs were checked when set."""
        if is_loopback_name(host) or literal_address(host) is not None:
            return
        try:
            found = await self._lookup(host)
        except OSError:
            raise NoAnswerError("The host name of Clopos' API cannot be resolved.", reason="dns") from None
        beyond = [address for address in found if not address.is_loopback]
        if check_answers(beyond, allow=self._allow, listed_only=True) is not None:
            raise NoAnswerError("Plain http would carry the credentials in the open: not sent.", reason="insecure")


async def _lookup(host: str) -> Sequence[Address]:
    found = await asyncio.get_running_loop().getaddrinfo(host, 80, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(str(answer[4][0]).partition("%")[0]) for answer in found]


async def _read(response: httpx.Response) -> bytes:
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", ""):
        # Asked for identity; what unpacks to any size is not unpacked.
        raise NoAnswerError("The answer is compressed, which was not asked for.", reason="oversize")
    with suppress(ValueError):
        if int(response.headers.get("content-length", "0")) > MAX_BODY_BYTES:
            raise _oversize()
    chunks: list[bytes] = []
    size_bytes = 0
    async for chunk in response.aiter_raw():
        size_bytes += len(chunk)
        if size_bytes > MAX_BODY_BYTES:
            raise _oversize()
        chunks.append(chunk)
    return b"".join(chunks)


def _oversize() -> NoAnswerError:
    return NoAnswerError(f"The answer is larger than {MAX_BODY_BYTES >> 20} MiB and was not read.", reason="oversize")


def _lowered(headers: httpx.Headers) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers.raw}


def _no_answer(error: Exception) -> NoAnswerError:
    match error:
        case httpx.TimeoutException():
            return NoAnswerError("Clopos did not answer in time.", reason="timeout")
        case httpx.ConnectError():
            return _not_connected(error)
        case httpx.RemoteProtocolError() if "complete message body" in str(error) or "chunked" in str(error):
            return NoAnswerError("The answer ended before its end.", reason="truncated")
        case httpx.RemoteProtocolError():
            return NoAnswerError("Clopos closed the connection, or answered with what is not HTTP.", reason="reset")
        case _:
            return NoAnswerError("The connection to Clopos broke.", reason="reset")


def _not_connected(error: Exception) -> NoAnswerError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, socket.gaierror):
            return NoAnswerError("The host name of Clopos' API cannot be resolved.", reason="dns")
        if isinstance(cause, ssl.SSLError):
            return NoAnswerError(
                "The certificate of Clopos' API is not valid, or it speaks no TLS that we do.", reason="tls"
            )
        cause = cause.__cause__ or cause.__context__
    return NoAnswerError("Clopos' API cannot be connected to.", reason="connect")
