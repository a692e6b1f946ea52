"""Which headers may a subscription add? Any ordinary one; none that the relay, HTTP or a proxy lives by."""

import re
from collections.abc import Iterable
from typing import Final

from relay.core.addresses import Refused, Why

MAX_HEADERS: Final = 20
MAX_NAME_CHARS: Final = 128
MAX_VALUE_BYTES: Final = 4096

RESERVED_NAMES: Final = frozenset({
    "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "cookie", "cookie2",
    "expect", "forwarded", "host", "http2-settings", "keep-alive", "set-cookie", "te", "trailer", "transfer-encoding",
    "upgrade", "user-agent", "via", "x-real-ip",
})  # fmt: skip
"""What the relay sets itself, what frames the message, and what proxies trust; in lower case."""

RESERVED_PREFIXES: Final = ("proxy-", "relay-", "sec-", "webhook-", "x-forwarded-")

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)  # RFC 9110, section 5.6.2: token
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")


def check_header(name: str, value: str) -> Refused | None:
    """Decide whether a partner's header may be sent.

    Args:
        name: in any case.
        value: text of Latin-1; what is beyond ASCII is sent as UTF-8.

    Returns:
        The refusal, None if it may. The reason repeats neither name nor value.

    Source:
        RFC 9110, section 5.
    """
    return _check_name(name) or _check_value(value)


def check_headers(headers: Iterable[tuple[str, str]]) -> dict[int, Refused]:
    """Decide on all headers of a subscription together.

    Args:
        headers: names and values in the order given.

    Returns:
        Refusals by position, empty if all may be sent. The one past ``MAX_HEADERS`` is refused for all that follow.
    """
    refused: dict[int, Refused] = {}
    seen: set[str] = set()
    for position, (name, value) in enumerate(headers):
        if position >= MAX_HEADERS:
            refused[position] = Refused(Why.HEADER_COUNT, f"there may be at most {MAX_HEADERS} headers")
            break
        wrong = check_header(name, value)
        if wrong is None and name.lower() in seen:
            wrong = Refused(Why.HEADER_DUPLICATE, "the header is there twice: upper and lower case are the same")
        if wrong is not None:
            refused[position] = wrong
        seen.add(name.lower())
    return refused


def _check_name(name: str) -> Refused | None:
    if len(name) > MAX_NAME_CHARS:
        return Refused(Why.HEADER_NAME, f"a header's name may have at most {MAX_NAME_CHARS} characters")
    if _NAME.fullmatch(name) is None:
        return Refused(Why.HEADER_NAME, "a header's name is made of ASCII letters, digits and hyphens")
    lower = name.lower()
    if lower in RESERVED_NAMES or lower.startswith(RESERVED_PREFIXES):
        return Refused(Why.HEADER_RESERVED, "this header is set by the relay, or is not a subscription's to set")
    return None


def _check_value(value: str) -> Refused | None:
    if len(value.encode("utf-8", "surrogatepass")) > MAX_VALUE_BYTES:
        return Refused(Why.HEADER_VALUE, f"a header's value may have at most {MAX_VALUE_BYTES} bytes")
    if _CONTROL.search(value):
        return Refused(Why.HEADER_VALUE, "a header's value may not contain control characters or line breaks")
    if value != value.strip(" \t"):
        return Refused(Why.HEADER_VALUE, "a header's value may not begin or end with a space or tab")
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        return Refused(Why.HEADER_VALUE, "a header's value may only contain Latin-1 characters")
    return None
