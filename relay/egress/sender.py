"""How does one attempt go? One POST under one deadline, to a checked address; the status line decides."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ssl import SSLContext
from types import TracebackType
from typing import Final, Self

import msgspec
from aiohttp import ClientConnectionError, ClientError
from aiohttp.http import HttpProcessingError

from relay import __version__
from relay.core.addresses import Networks
from relay.core.netpolicy import CheckedUrl
from relay.core.outcomes import FAILURES, Failure, StatusClass, classify
from relay.egress.exchange import GuardedConnector, Target
from relay.egress.failures import Explained, explain, explain_deadline
from relay.egress.guard import LOOKUP_TIMEOUT_S, Lookup, SystemLookup
from relay.egress.progress import PROGRESS, Progress

BODY_LIMIT_BYTES: Final = 16_384
"""What is read of a response's body."""

EXCERPT_BYTES: Final = 1_024
"""What is kept of it, as UTF-8."""

MAX_SOCKETS: Final = 512
"""Connections in use at a time, of each kind."""

STALE_WITHIN_S: Final = 1.0
"""A reused connection that fails this soon, without a byte, had been closed while it was idle."""

FIXED_HEADERS: Final = {
    "content-type": "application/json",
    "user-agent": f"clopos-relay/{__version__}",
    "accept": "*/*",
    "accept-encoding": "identity",
}

_MAX_TARGETS: Final = 10_000
_UNSHOWN: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters, and those that turn the direction of text."""


class OutboundRequest(msgspec.Struct, frozen=True, gc=False):
    """One request to a partner.

    Attributes:
        url: where to, as ``check_url`` returned it.
        headers: beside the fixed ones; names in lower case, none of them fixed.
        body: exactly what is sent.
        timeout_s: for everything, from the look-up of the name to the last byte read.
    """

    url: CheckedUrl
    headers: Mapping[str, str]
    body: bytes
    timeout_s: float


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """How one request ended.

    Attributes:
        status_code: of the final status line; None if none came.
        failure: why none came; None if one did.
        error: one word and a sentence, ready to show and free of secrets; None after a 2xx.
        status_class: how it is counted.
        duration_ms: from the start to the last byte read.
        response_excerpt: the beginning of the body, as text without control characters; at most ``EXCERPT_BYTES``.
        truncated: the body was longer than what is read, or did not end before the deadline.
        retry_after: the header as received, for ``parse_retry_after``; None if absent.
    """

    status_code: int | None
    failure: Failure | None
    error: str | None
    status_class: StatusClass
    duration_ms: int
    response_excerpt: str = ""
    truncated: bool = False
    retry_after: str | None = None


@dataclass(slots=True)
class _Answer:
    """What has come back of a response; the body grows until the deadline."""

    status_code: int | None = None
    retry_after: str | None = None
    body: bytes = b""
    whole: bool = False


class Sender:
    """Sends requests to partners: one for each process, inside one event loop.

    Connections are kept alive and shared by all subscriptions of an endpoint. Redirects are not followed, cookies not
    kept, proxies and credentials of the environment not used, bodies not decompressed::

        async with Sender(allow=NOWHERE) as sender:
            attempt = await sender.send(OutboundRequest(url, headers, body, timeout_s=15))
    """

    def __init__(
        self,
        *,
        allow: Networks,
        lookup: Lookup | None = None,
        tls: SSLContext | None = None,
        max_sockets: int = MAX_SOCKETS,
        lookup_timeout_s: float = LOOKUP_TIMEOUT_S,
    ) -> None:
        """Prepare to send.

        Args:
            allow: the operator's networks, which may be reached beside public addresses.
            lookup: resolves host names; the system's by default.
            tls: the context to trust by; the system's by default.
            max_sockets: connections in use at a time, to public hosts, and as many to the operator's networks.
            lookup_timeout_s: for one host name.
        """
        self._allow = allow
        self._lookup = lookup if lookup is not None else SystemLookup()
        self._tls = tls
        self._max_sockets = max_sockets
        self._lookup_timeout_s = lookup_timeout_s
        self._connectors: dict[bool, GuardedConnector] = {}
        self._targets: dict[str, Target] = {}

    async def __aenter__(self) -> Self:
        for listed_only in (False, True):
            self._connectors[listed_only] = GuardedConnector(
                self._lookup,
                allow=self._allow,
                listed_only=listed_only,
                limit=self._max_sockets,
                tls=self._tls,
                lookup_timeout_s=self._lookup_timeout_s,
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connector in self._connectors.values():
            await connector.close()

    async def send(self, request: OutboundRequest) -> Attempt:
        """Make one attempt.

        A connection that the partner closed while it was idle is replaced once, silently; the request is the same to
        the byte, and its id lets the partner tell.

        Returns:
            How it ended, whatever the partner did: nothing that a partner does is raised.

        Raises:
            ValueError: the headers cannot be sent.
        """
        clock = asyncio.get_running_loop().time
        started_s = clock()
        progress = Progress()
        PROGRESS.set(progress)
        answer = _Answer()
        explained: Explained | None = None
        try:
            async with asyncio.timeout_at(started_s + request.timeout_s):
                await self._exchange(request, progress, answer)
        except TimeoutError:
            explained = explain_deadline(progress.stage, request.timeout_s)
        except (ClientError, HttpProcessingError, OSError) as error:
            explained = explain(error)
        duration_ms = round((clock() - started_s) * 1_000)
        status_code = answer.status_code or progress.status_code
        if status_code is not None:
            return _answered(answer, status_code, duration_ms)
        if explained is None:
            raise AssertionError("an exchange without a status line ended without an error")
        if progress.overrun:
            explained = Explained(Failure.PROTOCOL, "too much came back before a status line")
        if explained.failure is Failure.EMFILE:
            for connector in self._connectors.values():
                connector.drop_idle()
        return _unanswered(explained, duration_ms)

    async def _exchange(self, request: OutboundRequest, progress: Progress, answer: _Answer) -> None:
        target = self._target(request.url)
        connector = self._connectors[request.url.listed_only]
        message = target.message(request.headers, request.body)
        clock = asyncio.get_running_loop().time
        sent_s = clock()
        try:
            await _exchange_over(connector, target, message, progress, answer)
        except ClientConnectionError:
            if answer.status_code is not None or not progress.was_stale or clock() - sent_s > STALE_WITHIN_S:
                raise
            connector.drop_idle(target)
            progress.restart()
            await _exchange_over(connector, target, message, progress, answer)

    def _target(self, url: CheckedUrl) -> Target:
        target = self._targets.get(url.url)
        if target is None:
            if len(self._targets) >= _MAX_TARGETS:
                self._targets.clear()
            target = self._targets[url.url] = Target.of(url, FIXED_HEADERS)
        return target


async def _exchange_over(
    connector: GuardedConnector, target: Target, message: bytes, progress: Progress, answer: _Answer
) -> None:
    """Send over one connection and read the answer up to its limit; what is left over costs the connection."""
    connection, protocol = await connector.open(target)
    try:
        progress.connected(protocol)
        head, body = await protocol.ask(message)
        answer.status_code = head.code
        answer.retry_after = head.headers.get("retry-after")
        while len(answer.body) < BODY_LIMIT_BYTES and not body.at_eof():
            answer.body += await body.read(BODY_LIMIT_BYTES - len(answer.body))
        answer.whole = body.at_eof()
    finally:
        protocol.finish()
        if answer.whole and protocol.all_sent:
            connection.release()
        else:
            protocol.abort()  # nobody waits until a peer that does not read has got the rest
            connection.close()


def _answered(answer: _Answer, status_code: int, duration_ms: int) -> Attempt:
    outcome = classify(status_code)
    if outcome.success:
        error = None
    elif outcome.status_class is StatusClass.REDIRECT:
        error = f"redirect: answered {status_code}, and redirects are not followed"
    else:
        error = f"status: answered {status_code}"
    return Attempt(
        status_code=status_code,
        failure=None,
        error=error,
        status_class=outcome.status_class,
        duration_ms=duration_ms,
        response_excerpt=_excerpt(answer.body),
        truncated=not answer.whole,
        retry_after=answer.retry_after,
    )


def _unanswered(explained: Explained, duration_ms: int) -> Attempt:
    return Attempt(
        status_code=None,
        failure=explained.failure,
        error=f"{explained.failure}: {explained.sentence}",
        status_class=FAILURES[explained.failure].status_class,
        duration_ms=duration_ms,
    )


def _excerpt(body: bytes) -> str:
    if not body:
        return ""
    text = _UNSHOWN.sub("\ufffd", body[:EXCERPT_BYTES].decode("utf-8", "replace"))
    return text.encode()[:EXCERPT_BYTES].decode("utf-8", "ignore")
