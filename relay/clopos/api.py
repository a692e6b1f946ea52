"""What is the Clopos API, on the wire: base URL, paths, headers, the sign-in, and what each failure is an error of.

No state: the client beside it adds the quota and the shared token; ``relay check`` uses this alone.
"""

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from relay.clopos.failures import Failure, FailureKind, envelope_failure, read_failure
from relay.clopos.schema import read_object
from relay.clopos.transport import Answer, Request, Transport
from relay.core.errors import (
    CloposError,
    PageUnreadable,
    RefusedError,
    SignInError,
    ThrottledError,
    UnknownThingError,
)
from relay.core.normalize import decimal, integer
from relay.store.quota import DEFAULT_BLOCK_S, LONGEST_BLOCK_S, Said, Tier

AUTH_PATH: Final = "auth"
TOKEN_HEADER: Final = "x-token"  # noqa: S105  a header's name
VENUE_HEADER: Final = "x-venue"

READ_DEADLINE_S: Final = 12.0
"""For one request that only reads, and for a sign-in; Clopos itself gives up after 8 s."""

ASSUMED_LIFETIME_S: Final = 600.0
"""Of a token whose answer does not say."""

_LONGEST_LIFETIME_S: Final = 86_400.0
_FAILED: Final = 400
_UNAUTHORIZED: Final = 401
_THROTTLED: Final = 429
_TIER_OF_LIMIT: Final = {60: Tier.SIGN_IN, 600: Tier.ADDRESS}
"""Two of Clopos' three limits are the same for everybody; any other number is the brand's."""

_ERRORS: Final[dict[FailureKind, tuple[type[RefusedError], str]]] = {
    FailureKind.EXPIRED: (SignInError, "unauthorized"),
    FailureKind.UNAUTHORIZED: (SignInError, "unauthorized"),
    FailureKind.INTEGRATOR: (SignInError, "integrator"),
    FailureKind.TEST_MODE: (SignInError, "test_mode"),
    FailureKind.FORBIDDEN: (RefusedError, "forbidden"),
    FailureKind.NOT_FOUND: (UnknownThingError, "not_found"),
    FailureKind.UPSTREAM: (RefusedError, "upstream"),
}


@dataclass(frozen=True, slots=True)
class Access:
    """What it takes to call Clopos for one brand.

    Attributes:
        base_url: without a slash at its end; the token goes there and nowhere else.
        client_secret: in the clear, so it is not shown.
        version: another text whenever one of the others may have changed.
    """

    brand: str
    base_url: str
    client_id: str
    client_secret: str = field(repr=False)
    integrator_id: str
    version: str


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A fresh token, and how long it is good for."""

    token: str = field(repr=False)
    lifetime_s: float


async def sign_in(transport: Transport, access: Access) -> SignedIn:
    """Get a token.

    Raises:
        SignInError: ``credentials``, ``integrator``, ``test_mode`` or ``no_token``.
        ThrottledError: ``throttled_sign_in``.
        RefusedError: ``upstream``, ``refused``.
        PageUnreadable: the answer is not JSON.
        NoAnswerError: none came.
    """
    answer = await transport.exchange(
        Request(
            "POST",
            f"{access.base_url}/{AUTH_PATH}",
            json={
                "client_id": access.client_id,
                "client_secret": access.client_secret,
                "brand": access.brand,
                "integrator_id": access.integrator_id,
            },
        ),
        deadline_s=READ_DEADLINE_S,
    )
    failure = envelope_failure(answer.status, answer.body)
    if failure is not None:
        raise _sign_in_error(failure, answer)
    said = read_object(answer.body)
    token = said.get("token")
    if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
        failure = read_failure(answer.status, answer.body)
        if failure.kind in (FailureKind.INTEGRATOR, FailureKind.TEST_MODE):
            raise error_of(failure, answer)
        raise SignInError("Clopos answered the sign-in without a token.", reason="no_token", status=answer.status)
    lifetime = decimal(said.get("expires_in"))
    lifetime_s = ASSUMED_LIFETIME_S if lifetime is None else float(lifetime)
    return SignedIn(token, min(max(lifetime_s, 1.0), _LONGEST_LIFETIME_S))


async def call(
    transport: Transport, access: Access, token: str, request: Request, *, venue_id: int | None, deadline_s: float
) -> Answer:
    """Send a request with a token; a failed answer is an answer here.

    Args:
        transport: the connections.
        access: whose base URL ``request.url`` is relative to.
        token: sent bare, in spite of its ``token_type``.
        request: its ``url`` is a path such as ``orders``.
        venue_id: whose rows; None for the token's own venue.
        deadline_s: for all of it.

    Raises:
        NoAnswerError: none came.
    """
    headers = {**request.headers, TOKEN_HEADER: token}
    if venue_id is not None:
        headers[VENUE_HEADER] = str(venue_id)
    path = quote(request.url, safe="/")
    return await transport.exchange(
        Request(request.method, f"{access.base_url}/{path}", request.params, headers, request.json),
        deadline_s=deadline_s,
    )


def quota_said(answer: Answer) -> Said:
    """Read what an answer to an authenticated request says of the quota; what cannot be read says nothing."""
    failed = answer.status >= _FAILED
    limit = integer(answer.headers.get("ratelimit-limit"))
    remaining = integer(answer.headers.get("ratelimit-remaining"))
    reset_s = _seconds(answer.headers.get("ratelimit-reset"))
    tier = Tier.BRAND if limit is None else _TIER_OF_LIMIT.get(limit, Tier.BRAND)
    told = limit is not None and remaining is not None and tier is not Tier.SIGN_IN
    return Said(
        failed=failed,
        blocked=tier if answer.status == _THROTTLED else None,
        block_s=_block_s(answer) if answer.status == _THROTTLED else 0.0,
        remaining_of=tier if told else None,
        remaining=remaining or 0,
        reset_s=DEFAULT_BLOCK_S if reset_s is None else min(reset_s, DEFAULT_BLOCK_S),
    )


def error_of(failure: Failure, answer: Answer) -> RefusedError:
    """Give the error that a failed answer to an authenticated request is."""
    if failure.kind is FailureKind.THROTTLED:
        reason = "throttled_address" if quota_said(answer).blocked is Tier.ADDRESS else "throttled"
        return ThrottledError(failure.message, reason=reason, status=failure.status, wait_s=_block_s(answer))
    error, reason = _ERRORS.get(failure.kind, (RefusedError, "refused"))
    return error(failure.message, reason=reason, status=failure.status)


def _sign_in_error(failure: Failure, answer: Answer) -> CloposError:
    if failure.kind is FailureKind.THROTTLED:
        return ThrottledError(
            failure.message, reason="throttled_sign_in", status=failure.status, wait_s=_block_s(answer)
        )
    if failure.kind in (FailureKind.INTEGRATOR, FailureKind.TEST_MODE, FailureKind.UPSTREAM):
        return error_of(failure, answer)
    if _is_a_page(failure, answer):
        return PageUnreadable("Not Clopos' API answered the sign-in, but a page.", reason="not_json")
    return SignInError(failure.message, reason="credentials", status=failure.status)


def _is_a_page(failure: Failure, answer: Answer) -> bool:
    """Whether something in between answered: a 401 or 403 in HTML says nothing of the credentials."""
    return failure.status != _UNAUTHORIZED and answer.body.lstrip()[:1] == b"<"


def _block_s(answer: Answer) -> float:
    """How long a 429 says to wait: until its window resets; the default where it says nothing usable."""
    for name in ("ratelimit-reset", "retry-after"):
        wait_s = _seconds(answer.headers.get(name))
        if wait_s is not None:
            return min(max(wait_s, 1.0), LONGEST_BLOCK_S)
    return DEFAULT_BLOCK_S


def _seconds(text: str | None) -> float | None:
    """A number of seconds; None for nonsense, a negative number, and a point in time."""
    plain = decimal(text)
    if plain is None or plain.startswith("-"):
        return None
    return float(plain) if len(plain) < 32 else LONGEST_BLOCK_S  # noqa: PLR2004  whatever is longer is beyond the cap
