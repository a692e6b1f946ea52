"""What should an operator do about a failure of Clopos', and whose is it?"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from relay.core.errors import CloposError, SignInError


class Reach(StrEnum):
    """How much a failure stops."""

    VENUE = "venue"
    BRAND = "brand"
    PLATFORM = "platform"


@dataclass(frozen=True, slots=True)
class Advice:
    """What a failure means.

    Attributes:
        reach: how much it stops.
        words: what is wrong and what to do, for an operator.
    """

    reach: Reach
    words: str


ADVICE: Final[Mapping[str, Advice]] = {
    "credentials": Advice(
        Reach.BRAND,
        "Clopos refuses the credentials: client_id, client_secret or the brand's name is wrong, or they were revoked. "
        "Put the right ones in, with `relay apply` or PATCH.",
    ),
    "no_token": Advice(Reach.BRAND, "Clopos accepted the sign-in and gave no token. Ask Clopos' support."),
    "unauthorized": Advice(
        Reach.BRAND,
        "Clopos refuses a token that it has just issued. Check with Clopos whether the client or the integrator is "
        "switched off for this brand.",
    ),
    "integrator": Advice(
        Reach.PLATFORM,
        "Clopos does not know the integrator_id, or has disabled it: that concerns every brand that uses it. Ask "
        "Clopos for a valid one, and put it in with `relay apply` or PATCH.",
    ),
    "test_mode": Advice(
        Reach.PLATFORM,
        "The integrator_id is a test one and the brand is a production brand: that concerns every production brand "
        "that uses it. Ask Clopos for a production integrator_id, and put it in with `relay apply` or PATCH.",
    ),
    "forbidden": Advice(
        Reach.BRAND, "Clopos denies access: the brand lacks a module, or the client a permission. Ask Clopos for it."
    ),
    "throttled": Advice(
        Reach.BRAND,
        "Clopos says that the brand's requests of this minute are used up. If it happens again, something else calls "
        "Clopos with this integrator_id: lower RELAY_QUOTA_PER_MINUTE.",
    ),
    "throttled_address": Advice(
        Reach.PLATFORM,
        "Clopos has blocked this address for too many failed requests; all brands wait. See which brand fails.",
    ),
    "throttled_sign_in": Advice(
        Reach.PLATFORM, "This address has used up its sign-ins of this minute. It goes on by itself."
    ),
    "not_found": Advice(
        Reach.VENUE, "Clopos does not know this venue (any more). Take it off the brand's venues, or open it there."
    ),
    "timeout": Advice(Reach.VENUE, "Clopos did not answer in time. It is tried again by itself."),
    "reset": Advice(Reach.VENUE, "The connection to Clopos broke. It is tried again by itself."),
    "truncated": Advice(Reach.VENUE, "Clopos' answer was cut short. It is tried again by itself."),
    "oversize": Advice(Reach.VENUE, "Clopos' answer was too large and was not read."),
    "upstream": Advice(Reach.VENUE, "Clopos has a fault of its own (5xx). It is tried again by itself."),
    "not_json": Advice(
        Reach.VENUE,
        "Something answers in Clopos' place with what is not its API: maintenance, a proxy or a captive page. Check "
        "the way to Clopos if it lasts.",
    ),
    "not_an_object": Advice(Reach.VENUE, "Clopos' answer has an unknown form. Tell Clopos if it lasts."),
    "not_a_list": Advice(Reach.VENUE, "Clopos' answer has an unknown form. Tell Clopos if it lasts."),
    "no_data": Advice(Reach.VENUE, "Clopos' answer has no data. Nothing is concluded from that; it is tried again."),
    "empty_page": Advice(
        Reach.VENUE,
        "Clopos says that there are rows and sends none. Nothing is concluded from it; it is tried again.",
    ),
    "refused": Advice(Reach.VENUE, "Clopos refuses the request."),
    "deadly": Advice(
        Reach.VENUE,
        "Reading this has ended the worker several times in a row, most likely for want of memory. It is set aside and "
        "tried again once in a while. Give the poll workers more memory.",
    ),
    "dns": Advice(Reach.PLATFORM, "The host name of Clopos' API is not found. Check clopos_url and the resolver."),
    "tls": Advice(
        Reach.PLATFORM, "The certificate of Clopos' API is not valid. Check clopos_url, the clock and the way there."
    ),
    "insecure": Advice(
        Reach.PLATFORM,
        "clopos_url is plain http:// and its name leads out of RELAY_ALLOW_NETWORKS: the credentials were not sent. "
        "Use https://, or put the network of that host into RELAY_ALLOW_NETWORKS.",
    ),
    "connect": Advice(Reach.PLATFORM, "Clopos' API cannot be connected to. Check clopos_url and the way there."),
    "held_back": Advice(Reach.BRAND, "The quota leaves no room. It goes on by itself."),
}
"""By the error's reason."""

_OTHER: Final = Advice(Reach.VENUE, "Clopos' answer cannot be used. It is tried again by itself.")


def advice(error: CloposError) -> Advice:
    """What an error means, and in words what to do, with Clopos' own where it gave some."""
    known = ADVICE.get(error.reason) or (
        Advice(Reach.BRAND, ADVICE["unauthorized"].words) if isinstance(error, SignInError) else _OTHER
    )
    said = getattr(error, "status", None)
    if said is None or not error.message:
        return known
    return Advice(known.reach, f"{known.words} (Clopos: {said}, “{error.message}”)")
