"""What does a poll shift work with?"""

from collections.abc import Callable
from dataclasses import dataclass

from relay.clopos.api import Access
from relay.clopos.client import CloposClient
from relay.pipeline.commit import Committer
from relay.pipeline.requests import Requests
from relay.store.brands import Brand, BrandStore
from relay.store.commands import CommandStore
from relay.store.connection import Redis
from relay.store.documents import Stored
from relay.store.quota import QuotaStore
from relay.store.snapshots import SnapshotStore
from relay.store.vault import Vault
from relay.store.venues import PollStore


@dataclass(frozen=True, slots=True, kw_only=True)
class PollContext:
    """The opened parts, and the settings of looking at Clopos.

    Attributes:
        pop: a client of its own for blocking pops.
        requests: counts the client's requests, whose ``observe`` it is.
        clopos_url: of brands that name none.
        interval_ms: the shortest time between two looks at one venue's orders.
        reconcile_ms: between two full compares of a venue.
        draw: a number in [0, 1), for jitter.
    """

    pop: Redis
    polls: PollStore
    brands: BrandStore
    snapshots: SnapshotStore
    quota: QuotaStore
    client: CloposClient
    committer: Committer
    commands: CommandStore
    vault: Vault
    requests: Requests
    clopos_url: str
    interval_ms: int
    reconcile_ms: int
    draw: Callable[[], float]


def access_of(stored: Stored[Brand], *, vault: Vault, clopos_url: str) -> Access:
    """What it takes to call Clopos for a brand.

    Raises:
        CorruptStateError: its secret cannot be decrypted.
    """
    brand = stored.value
    return Access(
        brand=brand.brand,
        base_url=(brand.clopos_url or clopos_url).rstrip("/"),
        client_id=brand.client_id,
        client_secret=vault.open(brand.client_secret),
        integrator_id=brand.integrator_id,
        version=f"{brand.generation}/{stored.version}",
    )
