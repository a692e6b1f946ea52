"""Which keys does the relay keep in Redis, of what type, whose, and when do they end?

Positions: an integer *stamp* of Redis' clock, ``max(last + 1, now_ms * 2048)``. It orders everything that was ever
written, fits a double exactly until the year 2109, and maps one to one to a stream id: ``{stamp // 2048}-{stamp % 2048}``.

| key | type | holds | ends |
|---|---|---|---|
| relay:clock | string | the last stamp given out | never (one) |
| relay:installation | string | ms of the first brand or subscription: there is something to be lost | never (one) |
| relay:doc:{kind} | hash | id -> document (JSON); kinds: brand, subscription, api-key | with the document |
| relay:doc:{kind}:epoch | string | counts changes of that kind: caches and routing compare it | never (one a kind) |
| relay:doc:{kind}:names | hash | unique name -> id | with the document |
| relay:log | stream | the log: one entry an event (s static part, q sequence, p sequence before) | trimmed at RELAY_RETENTION |
| relay:log:copy | stream | the log while it is rewritten without a customer | TTL 2 min, renewed; or it becomes the log |
| relay:log:rewriting | string | who rewrites the log | TTL 2 min, renewed |
| relay:log:ids | hash | event id -> position | with the entry |
| relay:snap:{brand}:{venue}:{feed}:h | hash | entity id -> head of its snapshot (see snapshots.py) | trim, or the brand's end |
| relay:snap:{brand}:{venue}:{feed}:o | hash | entity id -> packed object and raw row | with its head |
| relay:snap:{brand}:{venue}:{feed}:floor | string | highest id that was forgotten | the brand's end |
| relay:snap:{brand}:{venue}:{feed}:gone | zset | entity id -> stamp of its last write, once it is settled | with its head |
| relay:lanes:due | zset | subscription -> ms: when its lane has work; while owned: when the lease ends | lane's end |
| relay:lane:{sub} | hash | owner, fence, until, gate, circuit, counters of the ledger | retention after deletion |
| relay:lane:{sub}:ready | zset | queue -> position of its head, never tried | lane's end |
| relay:lane:{sub}:retry | zset | queue -> due ms of its head, tried before | lane's end |
| relay:lane:{sub}:q:{queue} | list | positions that wait, first in first out (queue: one subject, or one event); none where one waits that was never tried: it stands in `:ready` | when empty |
| relay:lane:{sub}:log | stream | one entry a delivery, at the stamp it was made (b brand, p position when another) | trimmed at RELAY_RETENTION |
| relay:lane:{sub}:dlv | hash | position -> record of a delivery that has one (absent: pending, never tried) | with its entry |
| relay:lane:{sub}:dead | zset | position -> ms it died | with its entry |
| relay:lane:{sub}:stat:{hour slot} | hash | attempts by outcome and latency bucket in five minutes | TTL 2 h |
| relay:replay:{id}:todo | list | positions a replay has yet to queue | when queued; TTL retention |
| relay:replay:{id}:queued | list | positions it has queued | TTL retention |
| relay:audit:ledger | hash | last count of the records: unaccounted, at ms, by subscription | never (one) |
| relay:lanes:gone | zset | deleted subscription -> ms | when its lane is empty |
| relay:lanes:corrupt | zset | subscription whose lane's keys hold something else -> position of the first event it missed | when mended, or the lane's end |
| relay:brands:gone | zset | deleted brand -> ms | when it is forgotten |
| relay:maintain:due | zset | background task -> ms | never (one a task) |
| relay:wake:{kind} | list | at most one element: there is work of that kind | TTL 60 s |
| relay:wake:{kind}:{owner} | list | what has new work and is owned by that worker (at most 1 000 names: then all of it) | TTL 60 s |
| relay:m | hash | counters and histogram buckets of the whole installation | never (bounded by label values) |
| relay:doc:api-key:used | hash | API key -> ms of its last use, to the minute | with the key |
| relay:audit | stream | who changed what: one entry a change (JSON) | about 20 000 entries |
| relay:idem:{digest} | hash | a request with an Idempotency-Key: its digest, nonce, sealed answer | TTL 24 h |
| relay:session:{digest} | string | who is signed in to the page (sealed) | TTL 12 h |
| relay:session:{digest}:{name} | string | what the next page is to tell them, once (sealed) | TTL 5 min |
| relay:announcements | list | operational events to commit (JSON), put there by the script that caused them | when committed |
| relay:polls:due | zset | brand -> ms of its next look; while owned: when the lease ends | the brand's end |
| relay:polls:{brand} | hash | lease: owner, fence, until; asked (for a look now), notes (how many were written), died (owners in a row that did not give it back) | the brand's end |
| relay:polls:{brand}:state | hash | what looking at Clopos found (JSON): `b` brand, `h` habits of its orders, `v:{venue}` a venue, `o:{venue}` its open orders, `r:{feed}:{venue}` how often a look was begun and its worker died | the brand's end |
| relay:polls:{brand}:bad | hash | rows set aside: feed:venue:id or digest -> reason, times (JSON); at most 200 | when read again, or the brand's end |
| relay:quota:{integrator}:{brand} | string | requests of the last minute, packed (see quota_acquire.lua) | TTL 10 min |
| relay:quota-address | string | failed requests and sign-ins of the last minute, all brands | TTL 10 min |
| relay:token:{brand} | hash | token of Clopos (sealed), its times, who renews it, why signing in failed | TTL 1 day past its end |
| relay:command:{brand}:{venue}:{order} | string | a command was made for this order; `:busy`: one runs | TTL 1 day; 40 s |
| relay:slots:{kind}:queued | zset | slot of a shift that was enqueued -> ms when it lapses | TTL 60 s |
| relay:slots:{kind}:running | zset | slot of a shift that runs -> ms when it lapses | TTL 60 s, renewed |
| relay:workers:{kind} | set | names of the processes that run shifts of that kind | when their own key has ended |
| relay:workers:{kind}:{name} | string | that it lives, and where | TTL 30 s, renewed every 10 s |
| relay:lease:scheduler | string | the scheduler that wakes the others | TTL 20 s, renewed |
| relay:scheduler:next | string | ms when it looks next: what becomes due earlier wakes it | TTL 20 s, renewed |
"""

from typing import Final

PREFIX: Final = "relay:"
CLOCK: Final = PREFIX + "clock"
INSTALLATION: Final = PREFIX + "installation"
LOG: Final = PREFIX + "log"
LOG_IDS: Final = PREFIX + "log:ids"
LOG_COPY: Final = PREFIX + "log:copy"
LOG_REWRITING: Final = PREFIX + "log:rewriting"
LANES_DUE: Final = PREFIX + "lanes:due"
BRANDS_GONE: Final = PREFIX + "brands:gone"
LANES_GONE: Final = PREFIX + "lanes:gone"
LANES_CORRUPT: Final = PREFIX + "lanes:corrupt"
COUNTERS: Final = PREFIX + "m"
ANNOUNCEMENTS: Final = PREFIX + "announcements"
API_KEYS_USED: Final = PREFIX + "doc:api-key:used"
AUDIT: Final = PREFIX + "audit"
LEDGER_AUDIT: Final = PREFIX + "audit:ledger"
MAINTAIN_DUE: Final = PREFIX + "maintain:due"
POLLS_DUE: Final = PREFIX + "polls:due"
SCHEDULER_NEXT: Final = PREFIX + "scheduler:next"
SCHEDULER_LEASE: Final = PREFIX + "lease:scheduler"

STAMPS_PER_MS: Final = 2048


def document(kind: str) -> str:
    """Hash of every document of one kind."""
    return f"{PREFIX}doc:{kind}"


def snapshot(brand: str, venue_id: int | None, feed: str) -> str:
    """Stem of the snapshot keys of one feed of one venue; ``:h`` heads, ``:o`` objects, ``:gone`` those settled."""
    return f"{PREFIX}snap:{brand}:{'-' if venue_id is None else venue_id}:{feed}"


def lane(subscription_id: str) -> str:
    """Stem, and hash, of one subscription's lane."""
    return f"{PREFIX}lane:{subscription_id}"


def replay(replay_id: str) -> tuple[str, str]:
    """Lists of one replay: positions yet to queue, positions queued."""
    return f"{PREFIX}replay:{replay_id}:todo", f"{PREFIX}replay:{replay_id}:queued"


def wake(kind: str, owner: str | None = None) -> str:
    """List that a lingering shift of ``kind`` (or one owner's) waits at."""
    return f"{PREFIX}wake:{kind}" if owner is None else f"{PREFIX}wake:{kind}:{owner}"


def poll_lease(brand: str) -> str:
    """Hash that says which worker looks at a brand's venues."""
    return f"{PREFIX}polls:{brand}"


def poll_state(brand: str) -> str:
    """Hash of what looking at a brand found."""
    return f"{PREFIX}polls:{brand}:state"


def bad_rows(brand: str) -> str:
    """Hash of a brand's rows that cannot be read."""
    return f"{PREFIX}polls:{brand}:bad"


def quota(integrator_id: str, brand: str) -> str:
    """String that counts what Clopos counts by integrator and brand."""
    return f"{PREFIX}quota:{integrator_id}:{brand}"


def quota_of_address() -> str:
    """String that counts what Clopos counts by the address it is called from."""
    return f"{PREFIX}quota-address"


def token(brand: str) -> str:
    """Hash of a brand's token."""
    return f"{PREFIX}token:{brand}"


def slots(kind: str) -> str:
    """Stem of the slots of one kind's shifts; ``:queued`` and ``:running``."""
    return f"{PREFIX}slots:{kind}"


def workers(kind: str) -> str:
    """Set of the names of one kind's workers; ``:{name}`` lives as long as the worker does."""
    return f"{PREFIX}workers:{kind}"


def session(digest: str, name: str | None = None) -> str:
    """String of one session of the page; with a name, of something left for its next page."""
    return f"{PREFIX}session:{digest}" if name is None else f"{PREFIX}session:{digest}:{name}"


def idempotency(digest: str) -> str:
    """Hash of one request that came with an Idempotency-Key."""
    return f"{PREFIX}idem:{digest}"


def command(brand: str, venue_id: int, order_id: int) -> str:
    """String that says that a command was made for an order; ``:busy`` that one runs."""
    return f"{PREFIX}command:{brand}:{venue_id}:{order_id}"
