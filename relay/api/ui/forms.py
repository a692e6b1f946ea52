"""Does a form come from our own page, and what does it hold?  Origin and token are checked before anything is done."""

import asyncio
import hmac
from collections.abc import Iterator
from typing import Final, NoReturn
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import ClientDisconnect, Request

from relay.api.problems import ProblemError

MAX_BYTES: Final = 65_536
MAX_FIELDS: Final = 500
READ_DEADLINE_S: Final = 10.0
TOKEN: Final = "csrf"  # noqa: S105  (the name of a field)

_TYPE: Final = "application/x-www-form-urlencoded"


class Form:
    """The fields of a form; each may be there several times."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs

    def get(self, name: str) -> str:
        """A field's value without space around it; "" where it is missing."""
        return next((value.strip() for key, value in self._pairs if key == name), "")

    def all(self, name: str) -> list[str]:
        """Every value of a field."""
        return [value for key, value in self._pairs if key == name]

    def values(self) -> Iterator[tuple[str, str]]:
        """What was typed in, to be shown again; without the token."""
        return ((key, value) for key, value in self._pairs if key != TOKEN)


def check_origin(request: Request) -> None:
    """Refuse a request that another site's page has made.

    Browsers say so themselves, where the page came over TLS or from this machine. Else the origin's host must be the
    one that was asked for; its scheme is not compared, as a proxy in front may speak TLS where we do not.

    Raises:
        ProblemError: 403.

    Source:
        OWASP Cross-Site Request Forgery Prevention: standard headers, and Fetch Metadata.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        if site != "same-origin":
            _foreign()
        return
    origin = request.headers.get("origin") or request.headers.get("referer")
    ours = {request.headers.get(name, "").lower() for name in ("host", "x-forwarded-host")}
    if origin is None or _host(origin) not in ours - {""}:
        _foreign()


def check_token(form: Form, expected: str) -> None:
    """Refuse a form that does not hold what our page put there.

    Raises:
        ProblemError: 403.
    """
    if not hmac.compare_digest(form.get(TOKEN).encode("utf-8", "surrogatepass"), expected.encode()):
        raise ProblemError("forbidden", "The form is not one of this session: open the page again and repeat.")


async def read_form(request: Request) -> Form:
    """Read a form's fields; none of what is no form, as ours are sent: it lacks the token, and is refused for that.

    Raises:
        ProblemError: 400, 408 or 413.
    """
    essence = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if essence != _TYPE:
        return Form([])
    try:
        async with asyncio.timeout(READ_DEADLINE_S):
            body = await _read(request)
    except TimeoutError:
        raise ProblemError("timeout", "The form did not arrive in time.", headers={"connection": "close"}) from None
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError:  # UnicodeDecodeError is one
        raise ProblemError("malformed", "The form cannot be read.") from None
    if any("\x00" in text for pair in pairs for text in pair):
        raise ProblemError("malformed", "The form holds a NUL.")
    return Form(pairs)


async def _read(request: Request) -> bytes:
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BYTES:
                raise ProblemError(
                    "too_large", f"A form may have at most {MAX_BYTES} bytes.", headers={"connection": "close"}
                )
    except ClientDisconnect:
        raise ProblemError("malformed", "The connection ended before the form did.") from None
    return bytes(body)


def _host(url: str) -> str | None:
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return parts.netloc.lower() if parts.scheme in ("http", "https") else None


def _foreign() -> NoReturn:
    raise ProblemError("forbidden", "This request does not come from a page of this relay.")
