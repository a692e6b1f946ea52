"""Does Clopos let us in, and what does it show? Asked by hand: without the quota and the token that workers share."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from relay.clopos.advice import advice
from relay.clopos.api import READ_DEADLINE_S, Access, call, error_of, sign_in
from relay.clopos.failures import envelope_failure
from relay.clopos.feeds.venues import VENUES
from relay.clopos.schema import read_page, read_row
from relay.clopos.transport import Request, Transport
from relay.core.errors import CloposError, RowUnreadable
from relay.core.normalize import integer
from relay.core.venues import Venue, normalize

_SLOW_S: Final = 4.0  # half of what Clopos itself gives an answer before it makes it a 504


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of checking one brand.

    Attributes:
        signed_in: whether Clopos gave a token.
        sign_in_ms: how long that took; None if no answer came.
        list_ms: how long the list of venues took; None if there was none.
        venues: what the credential sees.
        quota: ``limit``, ``remaining``, ``resets_in_s`` as Clopos says them; a number it does not say is None.
        problems: what is wrong and what to do, a sentence or two each; empty when all is well.
    """

    brand: str
    url: str
    signed_in: bool = False
    sign_in_ms: int | None = None
    list_ms: int | None = None
    venues: tuple[Venue, ...] = ()
    quota: dict[str, int | None] | None = None
    problems: tuple[str, ...] = ()


async def check_brand(
    transport: Transport, access: Access, *, wanted_venues: Collection[int] | None, monotonic: Callable[[], float]
) -> Finding:
    """Sign in and list the venues.

    Args:
        transport: the connections.
        access: the brand's.
        wanted_venues: ids that are to be looked at; None for all there are.
        monotonic: seconds.

    Returns:
        What was found; a failure of Clopos' is a finding, too.
    """
    started_s = monotonic()
    try:
        signed_in = await sign_in(transport, access)
    except CloposError as error:
        return Finding(access.brand, access.base_url, problems=(advice(error).words,))
    sign_in_s = monotonic() - started_s
    started_s = monotonic()
    seen: tuple[Venue, ...] = ()
    quota = None
    problems: list[str] = []
    list_s = None
    try:
        answer = await call(
            transport, access, signed_in.token, Request("GET", VENUES.path), venue_id=None, deadline_s=READ_DEADLINE_S
        )
        list_s = monotonic() - started_s
        quota = {
            "limit": integer(answer.headers.get("ratelimit-limit")),
            "remaining": integer(answer.headers.get("ratelimit-remaining")),
            "resets_in_s": integer(answer.headers.get("ratelimit-reset")),
        }
        failure = envelope_failure(answer.status, answer.body)
        if failure is not None:
            raise error_of(failure, answer)
        seen = _venues(answer.body, problems)
    except CloposError as error:
        problems.append(advice(error).words)
    else:
        problems += _doubts(seen, wanted_venues)
    problems += [
        f"Clopos is slow: {what} took {took_s:.1f} s."
        for what, took_s in (("signing in", sign_in_s), ("the list of venues", list_s or 0.0))
        if took_s > _SLOW_S
    ]
    return Finding(
        brand=access.brand,
        url=access.base_url,
        signed_in=True,
        sign_in_ms=round(sign_in_s * 1000),
        list_ms=None if list_s is None else round(list_s * 1000),
        venues=seen,
        quota=quota,
        problems=tuple(problems),
    )


def _venues(body: bytes, problems: list[str]) -> tuple[Venue, ...]:
    found = []
    page = read_page(body)
    unreadable = len(page.bad_rows)
    for raw in page.rows:
        try:
            found.append(normalize(read_row(raw)))
        except RowUnreadable:
            unreadable += 1
    if unreadable:
        problems.append(f"{unreadable} of the venues cannot be read and will not be looked at.")
    return tuple(found)


def _doubts(seen: tuple[Venue, ...], wanted: Collection[int] | None) -> list[str]:
    if not seen:
        return ["Clopos lists no venue for these credentials: there is nothing to look at."]
    missing = sorted(set(wanted or ()) - {venue["id"] for venue in seen})
    return [
        f"Venue {venue_id} is configured, but Clopos does not list it for these credentials." for venue_id in missing
    ]


def describe(finding: Finding) -> str:
    """Write a finding in lines for people."""
    lines = [f"{finding.brand} at {finding.url}"]
    if finding.signed_in:
        lines.append(f"  signed in in {finding.sign_in_ms} ms")
    if finding.list_ms is not None:
        named = [f"{venue['id']} {venue['name'] or '(no name)'}" for venue in finding.venues]
        lines.append(f"  {len(named)} venues in {finding.list_ms} ms: {', '.join(named) or 'none'}")
    if finding.quota is not None and finding.quota["remaining"] is not None:
        quota = finding.quota
        lines.append(f"  quota {quota['remaining']} of {quota['limit']} left, whole again in {quota['resets_in_s']} s")
    lines += [f"  PROBLEM: {problem}" for problem in finding.problems] or ["  all well"]
    return "\n".join(lines)
