"""Faults on demand: rules that say which requests go wrong, and how."""

from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatchcase
from random import Random
from typing import Any

KINDS: dict[str, str] = {
    "status": "the given status with a JSON error (also by the bare number: kind 500, 503, …)",
    "429": "too many requests; reset is the RateLimit-Reset header, null leaves the headers out",
    "502-html": "a proxy's HTML page, 502",
    "504-after": "wait delay_s, then an HTML 504",
    "html-200": "a maintenance page, HTML, 200",
    "success-false": "200 with success: false",
    "body": "the given body, status and content_type, whatever they are",
    "empty-list": "the honest answer with its rows left out and its total kept",
    "slow": "wait delay_s, then the honest answer",
    "hang": "no answer until the caller leaves",
    "reset": "the connection is reset (RST) before any answer; with part, after that share of the body",
    "trickle": "the honest answer, chunk_bytes at a time, delay_s between",
    "cut-json": "the honest answer cut short at part of it, with a fitting Content-Length",
    "short-body": "the honest answer's Content-Length, part of its body, then the connection closes",
}
"""Every kind of fault, and what it does."""

_MAX_STATUS = 599


class BadFaultError(ValueError):
    """A fault rule that makes no sense."""


@dataclass(slots=True)
class Fault:
    """One rule: which requests, how often, and what becomes of them.

    Attributes:
        kind: a key of ``KINDS``.
        method: of the requests that it strikes; ``*`` for any.
        path: below the API's root, with ``*`` as wildcard (``/orders*``).
        query: a text that the query string must contain.
        brand: of the token; None for any. Sign-ins carry no token.
        venue: the ``x-venue`` header; None for any.
        times: how many requests to strike; None for no end.
        after: how many matching requests to spare first.
        chance: share of the matching requests that it strikes.
        executes: carry the request out all the same, and lose its answer (where the fault does not need it anyway).
        delay_s: for ``504-after``, ``slow``, and between the pieces of ``trickle``.
        status: for ``status`` and ``body``.
        reset: ``RateLimit-Reset`` of a 429, any text; None leaves out all three headers.
        body: for ``body``.
        content_type: for ``body``.
        part: the share of the body that arrives, for ``cut-json`` and ``short-body`` (half unless given) and for
            ``reset`` (None: before the status line).
        chunk_bytes: for ``trickle``.
        id: number of the rule.
        matched: how many requests it met.
        struck: how many it spoilt.
    """

    kind: str
    method: str = "*"
    path: str = "*"
    query: str = ""
    brand: str | None = None
    venue: str | None = None
    times: int | None = None
    after: int = 0
    chance: float = 1.0
    executes: bool = False
    delay_s: float = 8.5
    status: int = 500
    reset: str | None = "37"
    body: str = ""
    content_type: str = "application/json"
    part: float | None = None
    chunk_bytes: int = 64
    id: int = 0
    matched: int = 0
    struck: int = 0

    def meets(self, *, method: str, path: str, query: str, brand: str | None, venue: str | None) -> bool:
        """Whether the rule is about such a request."""
        return (
            self.method in {"*", method}
            and fnmatchcase(path, self.path)
            and self.query in query
            and self.brand in {None, brand}
            and self.venue in {None, venue}
        )

    def strikes(self, draw: Random) -> bool:
        """Count a request that the rule meets, and say whether this one is spoilt."""
        self.matched += 1
        if self.matched <= self.after or (self.times is not None and self.struck >= self.times):
            return False
        if self.chance < 1 and draw.random() >= self.chance:
            return False
        self.struck += 1
        return True


class FaultBook:
    """The rules in force; the first that strikes, in the order they were given, wins."""

    def __init__(self) -> None:
        self._rules: list[Fault] = []
        self._given = 0

    def add(self, kind: str, **options: Any) -> Fault:
        """Put a rule in force.

        Args:
            kind: a key of ``KINDS``, or a status as a number.
            options: the other attributes of ``Fault``.

        Raises:
            BadFaultError: an unknown kind or option, or a value of the wrong type.
        """
        if kind.isdigit() and kind not in KINDS:
            kind, options = "status", options | {"status": int(kind)}
        if kind not in KINDS:
            raise BadFaultError(f"there is no fault {kind!r}; there are {', '.join(KINDS)}, and statuses by number")
        rule = Fault(kind, **_checked(options))
        self._given += 1
        rule.id = self._given
        self._rules.append(rule)
        return rule

    def strike(self, draw: Random, **request: Any) -> Fault | None:
        """The fault that befalls a request (see ``Fault.meets``), None for most."""
        for rule in self._rules:
            if rule.meets(**request) and rule.strikes(draw):
                return rule
        return None

    def remove(self, rule_id: int | None = None) -> int:
        """Lift one rule, or all; returns how many."""
        kept = [rule for rule in self._rules if rule_id is not None and rule.id != rule_id]
        lifted = len(self._rules) - len(kept)
        self._rules = kept
        return lifted

    def as_json(self) -> list[dict[str, Any]]:
        """The rules, with how often they met and struck."""
        return [asdict(rule) for rule in self._rules]


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    allowed = {
        field.name: field.type for field in fields(Fault) if field.name not in {"kind", "id", "matched", "struck"}
    }
    for name, value in options.items():
        if name not in allowed:
            raise BadFaultError(f"a fault has no option {name!r}; it has {', '.join(allowed)}")
        kinds: Any = allowed[name]
        wanted = (float | int) if kinds is float else kinds
        if not isinstance(value, wanted) or (isinstance(value, bool) and kinds is not bool):
            raise BadFaultError(f"option {name} takes {getattr(kinds, '__name__', kinds)}")
    if not 100 <= options.get("status", 500) <= _MAX_STATUS:  # noqa: PLR2004 - HTTP's own border
        raise BadFaultError("status is between 100 and 599")
    return options
