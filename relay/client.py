"""How is a relay spoken to from outside? By its admin API, with errors that say what to do. And a webhook handed on."""

import ipaddress
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any, ClassVar, Final, Self
from urllib.parse import quote, urlsplit

import httpx2 as httpx
import orjson

from relay.core.clopos_urls import is_loopback_name
from relay.core.errors import RelayError

TIMEOUT_S: Final = 30.0
_PAGE: Final = 200


class ApiError(RelayError):
    """The API could not be asked, or said no.

    Attributes:
        status: of its answer, None if there was none.
        faults: pointer and detail of each thing that was wrong with what was sent, where it said so.
    """

    default_reason: ClassVar[str] = "api"

    def __init__(self, message: str, *, status: int | None = None, faults: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.faults = tuple(faults)


class Client:
    """The admin API of one relay.

    Args:
        url: the relay's, without a slash at its end.
        token: a bearer token; "" for what needs none.
    """

    def __init__(self, url: str, token: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._url = url
        self._http = httpx.AsyncClient(
            base_url=url,
            headers={"authorization": f"Bearer {token}"} if token else {},
            timeout=timeout_s,
            trust_env=not is_near(url),  # a proxy knows no way back to this machine
        )

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.__aexit__(kind, error, trace)

    async def call(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: Mapping[str, str | int | None] | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """Make one request.

        Args:
            method: GET, POST, PATCH or DELETE.
            path: as ``/v1/brands``; ``segment`` makes its variable parts safe.
            json: the body, if any.
            params: the query; what is None is left out.
            timeout_s: for one that is known to wait.

        Returns:
            The JSON of the answer, None if it has none.

        Raises:
            ApiError: no answer, or one that says no.
        """
        try:
            response = await self._http.request(
                method,
                path,
                content=None if json is None else orjson.dumps(json),
                headers=None if json is None else {"content-type": "application/json"},
                params={name: value for name, value in (params or {}).items() if value is not None},
                timeout=timeout_s if timeout_s is not None else self._http.timeout,
            )
        except httpx.TimeoutException:
            raise ApiError(f"the relay at {self._url} does not answer in time") from None
        except httpx.HTTPError as error:
            raise ApiError(_no_answer(error, self._url)) from None
        if response.is_success:
            return _parsed(response.content) if response.content else None
        raise _refusal(response, self._url)

    async def each(
        self, path: str, params: Mapping[str, str | int | None] | None = None, *, at_most: int | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """Read a list, page after page.

        Args:
            path: of the list.
            params: filters.
            at_most: how many rows are enough; None for all.

        Raises:
            ApiError: as ``call``.
        """
        left, cursor = at_most, None
        while left is None or left > 0:
            limit = _PAGE if left is None else min(left, _PAGE)
            page = await self.call("GET", path, params={**(params or {}), "limit": limit, "cursor": cursor})
            for row in page["data"]:
                yield row
            cursor = page["next_cursor"]
            if cursor is None:
                return
            left = None if left is None else left - len(page["data"])

    async def is_ready(self) -> bool:
        """Say whether it is up and reaches its Redis."""
        try:
            await self.call("GET", "/readyz", timeout_s=3.0)
        except ApiError:
            return False
        return True


def segment(value: str | int) -> str:
    """Make a part of a path of what somebody typed."""
    return quote(str(value), safe="")


def is_near(url: str) -> bool:
    """Say whether a URL leads to this machine by its very spelling."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return is_loopback_name(host)


async def hand_on(url: str, *, headers: Mapping[str, str], body: bytes, timeout_s: float = TIMEOUT_S) -> int | str:
    """Hand a received webhook to another server, as it is.

    Returns:
        The status it answered with, or why there is none.
    """
    try:
        async with httpx.AsyncClient(timeout=timeout_s, trust_env=not is_near(url)) as http:
            return (await http.post(url, headers=dict(headers), content=body)).status_code
    except httpx.TimeoutException:
        return "no answer in time"
    except httpx.HTTPError:
        return "nobody answers"


def _parsed(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return None


def _no_answer(error: httpx.HTTPError, url: str) -> str:
    """Why there is no answer, as far as that can be told, and what to do."""
    said = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in said:
        return f"the certificate at {url} is not valid: is RELAY_URL right? SSL_CERT_FILE may name one to trust"
    if "SSL" in said:
        return f"{url} does not speak TLS: a relay itself speaks http://, only a proxy before it https://"
    if isinstance(error, httpx.RemoteProtocolError):
        return f"{url} does not answer in HTTP: is it https://? Set RELAY_URL to where the relay is"
    return f"no relay answers at {url}: start one with `relay up`, or set RELAY_URL to where it is"


def _refusal(response: httpx.Response, url: str) -> ApiError:
    """What an answer that is no success says, in a sentence or a few lines."""
    status = response.status_code
    problem = _parsed(response.content)
    if not isinstance(problem, dict) or "title" not in problem:
        hint = ""
        if response.is_redirect:
            hint = f" (it leads on to {response.headers.get('location', 'nowhere')})"
        return ApiError(f"{url} answered {status}{hint}, and not as a relay does: is RELAY_URL right?", status=status)
    if status == httpx.codes.UNAUTHORIZED:
        return ApiError(
            f"the relay at {url} does not know the token: set RELAY_TOKEN, or RELAY_DATA_DIR to where it keeps its own",
            status=status,
        )
    faults = [
        (str(fault.get("pointer", "")), str(fault.get("detail", "")))
        for fault in problem.get("errors") or ()
        if isinstance(fault, dict)
    ]
    lines = [f"\n  {pointer or '(whole)'}: {detail}" for pointer, detail in faults]
    said = str(problem.get("detail") or problem["title"])
    return ApiError(f"the relay says {status}: {said}{''.join(lines)}", status=status, faults=faults)
