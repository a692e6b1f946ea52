"""How does every worker call Clopos: inside the quota, with the shared token, each failure read by one rule?

One request goes: quota (all workers' count) → token (shared; renewed ahead by one) → transport → the rule of what is a
failure → ``core.errors``. A 401 renews the token once for all workers, and the request is made once more. Nothing else
is repeated here: when to try again is decided by whoever asked.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from relay.clopos.api import READ_DEADLINE_S, Access, call, error_of, quota_said, sign_in
from relay.clopos.failures import FailureKind, envelope_failure
from relay.clopos.schema import Page, RawRow, read_one, read_page
from relay.clopos.transport import Answer, Request, Transport
from relay.core.errors import (
    CloposError,
    HeldBackError,
    NoAnswerError,
    PageUnreadable,
    RefusedError,
    RowUnreadable,
    SignInError,
    ThrottledError,
)
from relay.store.quota import Account, Granted, Purpose, QuotaStore, Said, Tier
from relay.store.tokens import Held, Renew, Token, TokenStore, Wait

WRITE_DEADLINE_S: Final = 12.0
"""For one PUT. Whoever sent it reads the order when no answer came."""

QUOTA_PATIENCE_S: Final = {Purpose.POLL: 20.0, Purpose.REST: 120.0, Purpose.COMMAND: 5.0}
"""How long a request waits for its turn, at most, before it is given up."""

_SIGN_IN_HOLDS_S: Final = (60.0, 60.0, 60.0, 60.0, 60.0, 120.0, 240.0, 300.0)
"""After a refused sign-in, by how many failed before it."""

_LOST_SIGN_IN_HOLDS_S: Final = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""After a sign-in without a usable answer."""

_RENEW_AHEAD: Final = 0.2
_RENEW_AHEAD_AT_LEAST_S: Final = 1.5  # Clopos counts in whole seconds, and may round down
_RENEW_AHEAD_AT_MOST_S: Final = 300.0
_SHORTEST_NAP_S: Final = 0.02
_LONGEST_NAP_S: Final = 0.25
_UNAUTHORIZED: Final = 401


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request that was made, for the metrics.

    Attributes:
        resource: ``orders``, ``stations``, ``venues``, ``auth``.
        outcome: ``ok``, ``unauthorized``, ``throttled``, ``timeout`` or ``error``.
        reason: the error's slug, "" when it went well.
    """

    brand: str
    resource: str
    outcome: str
    reason: str
    duration_s: float


@dataclass(frozen=True, slots=True)
class _Cached:
    version: str
    token: Token
    taken_s: float


class CloposClient:
    """Calls Clopos for any brand; one for a process, whose brands share its connections."""

    def __init__(
        self,
        *,
        transport: Transport,
        quota: QuotaStore,
        tokens: TokenStore,
        monotonic: Callable[[], float],
        draw: Callable[[], float],
        observe: Callable[[Exchange], None],
    ) -> None:
        """Put the parts together.

        Args:
            transport: the connections; its owner closes it.
            quota: the count of requests.
            tokens: the shared tokens.
            monotonic: seconds.
            draw: a number in [0, 1), for jitter and names.
            observe: is told of each request; must not fail or wait.
        """
        self._transport = transport
        self._quota = quota
        self._tokens = tokens
        self._monotonic = monotonic
        self._draw = draw
        self._observe = observe
        self._cache: dict[str, _Cached] = {}

    async def get_page(
        self,
        access: Access,
        path: str,
        params: Sequence[tuple[str, str]],
        *,
        venue_id: int | None,
        purpose: Purpose,
        grant: Granted | None = None,
    ) -> Page:
        """Read one page of a list.

        Args:
            access: for which brand.
            path: ``orders``, ``stations``, ``venues``.
            params: the query.
            venue_id: whose rows; None for the token's own venue, or for what belongs to the whole brand.
            purpose: whose share of the quota it uses.
            grant: a place in the quota that the caller has already; else one is waited for.

        Raises:
            CloposError: see ``core.errors``.
        """
        answer = await self._ask(access, Request("GET", path, params), venue_id=venue_id, purpose=purpose, grant=grant)
        return read_page(answer.body)

    async def get_order(self, access: Access, order_id: int, *, venue_id: int, purpose: Purpose) -> RawRow:
        """Read one order as it is now.

        Raises:
            UnknownThingError: the venue has no such order.
            RowUnreadable: it cannot be read.
            CloposError: see ``core.errors``.
        """
        answer = await self._ask(
            access, Request("GET", f"orders/{order_id}"), venue_id=venue_id, purpose=purpose, grant=None
        )
        return read_one(answer.body)

    async def put_ignore(self, access: Access, order_id: int, *, venue_id: int) -> RawRow | None:
        """Cancel an order.

        Returns:
            The row that Clopos answered with, which has no payload; None where it cannot be read: Clopos did it all
            the same.

        Raises:
            UnknownThingError: the venue has no such order.
            RefusedError: Clopos will not, with its reason; with ``upstream``, whether it did is not known.
            NoAnswerError: whether Clopos did it is not known: read the order.
            CloposError: see ``core.errors``.
        """
        request = Request("PUT", f"orders/{order_id}", json={"status": "IGNORE"})
        answer = await self._ask(access, request, venue_id=venue_id, purpose=Purpose.COMMAND, grant=None)
        try:
            return read_one(answer.body)
        except (PageUnreadable, RowUnreadable):
            return None

    async def acquire(self, access: Access, purpose: Purpose) -> Granted:
        """Wait for a place in the quota.

        Raises:
            HeldBackError: there will be none within ``QUOTA_PATIENCE_S``.
        """
        account = Account(access.integrator_id, access.brand)
        give_up_s = self._monotonic() + QUOTA_PATIENCE_S[purpose]
        while True:
            asked = await self._quota.acquire(account, purpose)
            if isinstance(asked, Granted):
                return asked
            wait_s = asked.wait_ms / 1000
            if self._monotonic() + wait_s > give_up_s:
                raise HeldBackError(
                    "The quota leaves no room for this request now.", reason=f"quota_{asked.reason}", wait_s=wait_s
                )
            await asyncio.sleep(max(wait_s, _SHORTEST_NAP_S))

    async def _ask(
        self, access: Access, request: Request, *, venue_id: int | None, purpose: Purpose, grant: Granted | None
    ) -> Answer:
        token = await self._token(access, refused=None)
        grant = grant or await self.acquire(access, purpose)
        answer = await self._send(access, token, request, venue_id=venue_id, grant=grant)
        failure = envelope_failure(answer.status, answer.body)
        if failure is not None and _is_about_the_token(failure.kind, answer.status):
            token = await self._token(access, refused=token.generation)
            grant = await self.acquire(access, purpose)
            answer = await self._send(access, token, request, venue_id=venue_id, grant=grant)
            failure = envelope_failure(answer.status, answer.body)
            if failure is not None and _is_about_the_token(failure.kind, answer.status):
                await self._hold(access, SignInError(failure.message, reason="unauthorized", status=answer.status))
        if failure is not None:
            raise error_of(failure, answer)
        return answer

    async def _send(
        self, access: Access, token: Token, request: Request, *, venue_id: int | None, grant: Granted
    ) -> Answer:
        """One request and what its answer says of the quota."""
        resource = request.url.partition("/")[0]
        started_s = self._monotonic()
        deadline_s = READ_DEADLINE_S if request.method == "GET" else WRITE_DEADLINE_S
        try:
            answer = await call(self._transport, access, token.value, request, venue_id=venue_id, deadline_s=deadline_s)
        except NoAnswerError as error:
            self._note(access, resource, error, started_s)
            raise
        failure = envelope_failure(answer.status, answer.body) if answer.status != 200 else None  # noqa: PLR2004
        self._note(access, resource, None if failure is None else error_of(failure, answer), started_s)
        said = quota_said(answer)
        # An answer that says no more than we know needs no word to the others.
        lower = said.remaining_of is Tier.ADDRESS or (
            said.remaining_of is Tier.BRAND and (said.remaining < grant.remaining or grant.others > 0)
        )
        if said.failed or lower:
            await self._quota.report(Account(access.integrator_id, access.brand), said)
        return answer

    async def _token(self, access: Access, *, refused: int | None) -> Token:
        """The brand's token; fetched anew, once for all workers, when it is about to end or was refused.

        Raises:
            SignInError, ThrottledError, RefusedError, NoAnswerError, PageUnreadable: the sign-in, made now, failed.
            HeldBackError: it failed a while ago, and is not tried again yet; or another worker does not get done.
        """
        cached = self._cache.get(access.brand)
        if cached is not None and cached.version == access.version and cached.token.generation != refused:
            age_ms = (self._monotonic() - cached.taken_s) * 1000
            if age_ms < cached.token.renew_in_ms:
                return cached.token
        owner = f"{self._draw():.17f}"
        give_up_s = self._monotonic() + READ_DEADLINE_S + 1
        while True:
            asked_s = self._monotonic()
            taken = await self._tokens.take(access.brand, version=access.version, owner=owner, refused=refused)
            match taken:
                case Token():
                    self._cache[access.brand] = _Cached(access.version, taken, asked_s)
                    return taken
                case Renew():
                    return await self._renew(access, owner, taken.failures)
                case Held():
                    raise HeldBackError(taken.message, reason=taken.reason, wait_s=taken.wait_ms / 1000)
                case Wait() if self._monotonic() > give_up_s:
                    raise HeldBackError(
                        "Another worker signs in and does not get done.", reason="timeout", wait_s=taken.wait_ms / 1000
                    )
                case Wait():
                    await asyncio.sleep(min(taken.wait_ms / 1000, _LONGEST_NAP_S))

    async def _renew(self, access: Access, owner: str, failures: int) -> Token:
        started_s = self._monotonic()
        try:
            place = await self._quota.acquire_sign_in()
            if not isinstance(place, Granted):
                raise ThrottledError(
                    "This address has used up its sign-ins.", reason="throttled_sign_in", wait_s=place.wait_ms / 1000
                )
            signed_in = await sign_in(self._transport, access)
        except CloposError as error:
            self._note(access, "auth", error, started_s)
            if isinstance(error, ThrottledError):
                account = Account(access.integrator_id, access.brand)
                await self._quota.report(account, Said(blocked=Tier.SIGN_IN, block_s=error.wait_s))
            await self._hold(access, error, owner=owner, failures=failures)
            raise
        self._note(access, "auth", None, started_s)
        # Its time runs from before it was asked for, as Clopos' clock started somewhere in between.
        left_s = max(0.5, signed_in.lifetime_s - (self._monotonic() - started_s))
        ahead_s = min(max(signed_in.lifetime_s * _RENEW_AHEAD, _RENEW_AHEAD_AT_LEAST_S), _RENEW_AHEAD_AT_MOST_S)
        renew_s = max(left_s - ahead_s, left_s * _RENEW_AHEAD)
        token = Token(signed_in.token, 0, round(left_s * 1000), round(renew_s * 1000))
        token = await self._tokens.keep(access.brand, token, version=access.version, owner=owner)
        self._cache[access.brand] = _Cached(access.version, token, self._monotonic())
        return token

    async def _hold(self, access: Access, error: CloposError, *, owner: str = "", failures: int = 0) -> None:
        """Tell all workers that signing in failed, and not to try before a while."""
        self._cache.pop(access.brand, None)
        held = Held(round(self._hold_s(error, failures) * 1000), error.reason, error.message, 0)
        await self._tokens.fail(access.brand, held, version=access.version, owner=owner)

    def _hold_s(self, error: CloposError, failures: int) -> float:
        if isinstance(error, ThrottledError):
            return error.wait_s + self._draw()
        refused = isinstance(error, SignInError) or (isinstance(error, RefusedError) and error.reason != "upstream")
        holds = _SIGN_IN_HOLDS_S if refused else _LOST_SIGN_IN_HOLDS_S
        hold_s = holds[min(failures, len(holds) - 1)]
        return hold_s + self._draw() if refused else hold_s * (0.5 + self._draw())

    def _note(self, access: Access, resource: str, error: CloposError | None, started_s: float) -> None:
        reason = "" if error is None else error.reason
        duration_s = self._monotonic() - started_s
        self._observe(Exchange(access.brand, resource, outcome_of(error), reason, duration_s))


def outcome_of(error: CloposError | None) -> str:
    """Name an error as the metric ``relay_poll_requests_total`` does."""
    match error:
        case None:
            return "ok"
        case SignInError():
            return "unauthorized"
        case ThrottledError():
            return "throttled"
        case NoAnswerError(reason="timeout"):
            return "timeout"
        case _:
            return "error"


def _is_about_the_token(kind: FailureKind, status: int) -> bool:
    return status == _UNAUTHORIZED and kind in (FailureKind.EXPIRED, FailureKind.UNAUTHORIZED)
