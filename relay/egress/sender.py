"""How does one attempt go? One POST under one deadline, to a checked address; the status line decides."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from ssl import SSLContext
from types import TracebackType
from typing import Final, Self

from aiohttp import ClientConnectionError, ClientError, ClientResponse, ClientSession, ClientTimeout, DummyCookieJar
from yarl import URL

from relay import __version__
from relay.core.addresses import Networks
from relay.core.netpolicy import CheckedUrl
from relay.core.outcomes import FAILURES, Failure, StatusClass, classify
from relay.egress.exchange import GuardedConnector
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

_NO_TIMEOUT: Final = ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)
_LONG_BODY_BYTES: Final = 1_048_576
_MAX_URLS: Final = 10_000
_UNSHOWN: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters, and those that turn the direction of text."""


@dataclass(frozen=True, slots=True)
class OutboundRequest:
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


@dataclass(frozen=True, slots=True)
class Attempt:
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


@dataclass(frozen=True, slots=True)
class _Line:
    """The connections of one kind, and what speaks HTTP over them."""

    connector: GuardedConnector
    session: ClientSession


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
        self._lines: dict[bool, _Line] = {}
        self._urls: dict[str, URL] = {}

    async def __aenter__(self) -> Self:
        for listed_only in (False, True):
            connector = GuardedConnector(
                self._lookup,
                allow=self._allow,
                listed_only=listed_only,
                limit=self._max_sockets,
                tls=self._tls,
                lookup_timeout_s=self._lookup_timeout_s,
            )
            session = ClientSession(
                connector=connector,
                headers=FIXED_HEADERS,
                cookie_jar=DummyCookieJar(),
                timeout=_NO_TIMEOUT,
                auto_decompress=False,
                read_bufsize=BODY_LIMIT_BYTES,
                trust_env=False,
            )
            self._lines[listed_only] = _Line(connector, session)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for line in self._lines.values():
            await line.session.close()

    async def send(self, request: OutboundRequest) -> Attempt:
        """Make one attempt.

        A connection that the partner closed while it was idle is replaced once, silently; the request is the same to
        the byte, and its id lets the partner tell.

        Returns:
            How it ended, whatever the partner did: nothing that a partner does is raised.

        Raises:
            ValueError: the headers cannot be sent.
        """
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        progress = Progress()
        PROGRESS.set(progress)
        answer = _Answer()
        explained: Explained | None = None
        try:
            async with asyncio.timeout_at(started_s + request.timeout_s):
                await _read(await self._post(request, progress), answer)
        except TimeoutError:
            explained = explain_deadline(progress.stage, request.timeout_s)
        except (ClientError, OSError) as error:
            explained = explain(error)
        finally:
            if progress.protocol is not None:
                progress.protocol.finish(progress.number)
        duration_ms = round((loop.time() - started_s) * 1_000)
        if explained is not None and answer.status_code is None:
            answer.status_code = progress.status_code
        if answer.status_code is not None:
            return _answered(answer, answer.status_code, duration_ms)
        if explained is None:
            raise AssertionError("an exchange without a status line ended without an error")
        if progress.overrun:
            explained = Explained(Failure.PROTOCOL, "too much came back before a status line")
        if explained.failure is Failure.EMFILE:
            for line in self._lines.values():
                line.connector.drop_idle()
        return Attempt(
            status_code=None,
            failure=explained.failure,
            error=f"{explained.failure}: {explained.sentence}",
            status_class=FAILURES[explained.failure].status_class,
            duration_ms=duration_ms,
        )

    async def _post(self, request: OutboundRequest, progress: Progress) -> ClientResponse:
        line = self._lines[request.url.listed_only]
        url = self._url(request.url.url)
        clock = asyncio.get_running_loop().time
        sent_s = clock()
        try:
            return await line.session.post(
                url, data=_payload(request.body), headers=request.headers, allow_redirects=False
            )
        except ClientConnectionError:
            if not progress.was_stale or clock() - sent_s > STALE_WITHIN_S:
                raise
        line.connector.drop_idle(progress.key)
        progress.restart()
        return await line.session.post(url, data=_payload(request.body), headers=request.headers, allow_redirects=False)

    def _url(self, text: str) -> URL:
        url = self._urls.get(text)
        if url is None:
            if len(self._urls) >= _MAX_URLS:
                self._urls.clear()
            url = self._urls[text] = URL(text, encoded=True)
        return url


def _payload(body: bytes) -> bytes | BytesIO:
    """Hand a long body over in pieces, so that the event loop is not held up."""
    return body if len(body) <= _LONG_BODY_BYTES else BytesIO(body)


async def _read(response: ClientResponse, answer: _Answer) -> None:
    """Read the body up to its limit; what is left over costs the connection."""
    answer.status_code = response.status
    answer.retry_after = response.headers.get("retry-after")
    content = response.content
    try:
        while len(answer.body) < BODY_LIMIT_BYTES and not content.at_eof():
            answer.body += await content.read(BODY_LIMIT_BYTES - len(answer.body))
        answer.whole = content.at_eof()
    finally:
        if not response.closed:
            response.close()


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


def _excerpt(body: bytes) -> str:
    if not body:
        return ""
    text = _UNSHOWN.sub("\ufffd", body[:EXCERPT_BYTES].decode("utf-8", "replace"))
    return text.encode()[:EXCERPT_BYTES].decode("utf-8", "ignore")
