"""Which answers of Clopos' are failures, and what they mean: the one place for that rule."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NoReturn

import msgspec

from relay.clopos.outline import read_outline
from relay.core.errors import PageUnreadable, RefusedError
from relay.core.normalize import flag, repair


class _Verdict(msgspec.Struct):
    success: msgspec.Raw = msgspec.Raw(b"")


_verdict: Final = msgspec.json.Decoder(_Verdict)


class FailureKind(StrEnum):
    """What to make of a failure."""

    EXPIRED = "expired"  # the token; sign in again
    UNAUTHORIZED = "unauthorized"  # the token or the credentials
    INTEGRATOR = "integrator"  # unknown or disabled: every brand's trouble, not one's
    TEST_MODE = "test_mode"  # a test integrator on a production brand: configuration
    FORBIDDEN = "forbidden"  # the brand lacks a module, or the client a permission
    NOT_FOUND = "not_found"
    THROTTLED = "throttled"
    INVALID = "invalid"  # what we asked for is wrong
    UPSTREAM = "upstream"  # 5xx; try again later
    REFUSED = "refused"  # anything else


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed answer, bounded, and without secrets.

    Attributes:
        status: the HTTP status; 200 is possible.
        kind: what to make of it.
        slug: Clopos' own name for it, lower case with underscores, at most 64; else ``http_503`` or ``refused``.
        message: what Clopos says, at most 200 characters, with what looks like a token, a number or an address masked.
        expires_at: when the token expired, as Clopos says it (ISO 8601), at most 40 characters.
    """

    status: int
    kind: FailureKind
    slug: str
    message: str
    expires_at: str | None = None


def envelope_failure(status: int, body: bytes) -> Failure | None:
    """Tell whether an answer is a failure: its status is 400 or above, or it says ``"success": false``.

    A missing ``success`` on a 2xx is none. The three shapes of ``error`` (text, a list of objects, absent) are read
    alike, and a body that is not JSON is no obstacle.
    """
    if status < 400 and not _says_false(body):  # noqa: PLR2004 - the rule itself
        return None
    return read_failure(status, body)


def read_failure(status: int, body: bytes) -> Failure:
    """Read an answer as the failure that it is known to be; also a good one that lacks what was asked for."""
    try:
        envelope = read_outline(body).envelope
    except PageUnreadable:
        envelope = {}
    error = envelope.get("error")
    detail = error[0] if isinstance(error, list) and error else error
    said = envelope.get("message")
    if isinstance(detail, dict):
        said = said or detail.get("message")
        name = _snake(detail.get("exception") or detail.get("type"))
    else:
        said = said or detail
        name = _snake(detail)
    slug = name or (f"http_{status}" if status >= 400 else "refused")  # noqa: PLR2004
    expires_at = envelope.get("expires_at")
    return Failure(
        status=status,
        kind=_kind(status, slug, _snake(said)),
        slug=slug,
        message=_presentable(said) or f"HTTP {status} without a reason.",
        expires_at=None if expires_at is None else _printable(str(expires_at))[:40],
    )


def _says_false(body: bytes) -> bool:
    try:
        said = bytes(_verdict.decode(body).success)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        try:
            return flag(read_outline(body).envelope.get("success")) is False
        except PageUnreadable:
            return False
    return said in {b"false", b"0", b'"false"', b'"0"'}


def refuse(body: bytes) -> NoReturn:
    """Raise what a 2xx answer with ``"success": false`` means."""
    failure = envelope_failure(200, body)
    slug, message = (failure.slug, failure.message) if failure else ("refused", "Clopos refused.")
    raise RefusedError(message, reason=slug, status=200)


_KIND_BY_SLUG: Final[tuple[tuple[str, FailureKind], ...]] = (
    ("token_expired", FailureKind.EXPIRED),
    ("integrator_is_in_test_mode", FailureKind.TEST_MODE),
    ("invalid_integrator_id", FailureKind.INTEGRATOR),
    ("client_is_disabled", FailureKind.UNAUTHORIZED),
    ("invalid_token", FailureKind.UNAUTHORIZED),
    ("unauthorized", FailureKind.UNAUTHORIZED),
    ("headers_are_missing", FailureKind.UNAUTHORIZED),
    ("resource_not_found", FailureKind.NOT_FOUND),
    ("not_found", FailureKind.NOT_FOUND),
    ("validation_failed", FailureKind.INVALID),
    ("invalid_parameter", FailureKind.INVALID),
)

_TELLING: Final = (
    "token_expired",
    "integrator_is_in_test_mode",
    "invalid_integrator_id",
    "client_is_disabled",
    "invalid_token",
)
"""What counts where the message alone says it: in some shapes ``error`` has no more than a class or a code."""

_KIND_BY_STATUS: Final = {
    400: FailureKind.INVALID,
    401: FailureKind.UNAUTHORIZED,
    403: FailureKind.FORBIDDEN,
    404: FailureKind.NOT_FOUND,
    422: FailureKind.INVALID,
    429: FailureKind.THROTTLED,
}


def _kind(status: int, slug: str, said: str) -> FailureKind:
    if status == 429:  # noqa: PLR2004 - whatever its body says
        return FailureKind.THROTTLED
    telling = said if status < 500 and said.startswith(_TELLING) else slug  # noqa: PLR2004
    for start, kind in _KIND_BY_SLUG:
        if telling.startswith(start):
            return kind
    if status >= 500:  # noqa: PLR2004
        return FailureKind.UPSTREAM
    return _KIND_BY_STATUS.get(status, FailureKind.REFUSED)


_SECRET: Final = re.compile(
    r"[\w+/=-]+\.[\w+/=-]+\.[\w+/=-]{8,}"  # a JWT
    r"|(?=[\w+/=-]*\d)[\w+/=-]{24,}"  # a key
    r"|[^\s@]+@[^\s@]+"  # an address
    r"|\+?\d[\d ()-]{6,}\d"  # a phone number
)


def _printable(said: str) -> str:
    return "".join(char if char.isprintable() else " " for char in repair(said))


def _presentable(said: Any) -> str:
    if not isinstance(said, str):
        return ""
    return _SECRET.sub("…", " ".join(_printable(said[:1000]).split()))[:200]


def _snake(name: Any) -> str:
    if not isinstance(name, str):
        return ""
    bare = re.sub(r"(Http)?Exception$", "", name[:200])
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", bare) if " " not in bare else bare
    return re.sub(r"[^a-z0-9]+", "_", _SECRET.sub("", spaced).lower()).strip("_")[:64]
