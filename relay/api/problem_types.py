"""Which kinds of problem can an answer be?  One table; the documentation is made from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One row of the table.

    Attributes:
        code: stable, for programs.
        title: the same for every problem of the type.
        advice: what to do about it, for the documentation.
    """

    code: str
    status: int
    title: str
    advice: str

    @property
    def uri(self) -> str:
        """Its ``type``: a place in this API's own documentation."""
        return f"/docs#problem-{self.code}"


_TABLE: Final = (
    ProblemType(
        "malformed",
        400,
        "The request cannot be read",
        "Send one JSON document in UTF-8; the position is in the detail.",
    ),
    ProblemType("duplicate_key", 400, "A key is there twice", "Send each key of an object once."),
    ProblemType(
        "bad_header",
        400,
        "A header cannot be read",
        "If-Match takes an ETag as it was given, Idempotency-Key 1 to 255 ASCII characters.",
    ),
    ProblemType(
        "bad_cursor",
        400,
        "The cursor is not one of this list",
        "Start without cursor, and use next_cursor with the same filters as before.",
    ),
    ProblemType(
        "unauthorized",
        401,
        "A valid token is needed",
        "Send `Authorization: Bearer …` with the admin token or an API key that is neither revoked nor expired.",
    ),
    ProblemType(
        "forbidden", 403, "The key does not reach that far", "Use a key of another role or with another scope."
    ),
    ProblemType(
        "not_found",
        404,
        "There is no such thing",
        "Look at the list; what belongs to another partner is not there either.",
    ),
    ProblemType(
        "method_not_allowed", 405, "The method does not apply here", "Use one of the methods in the Allow header."
    ),
    ProblemType("timeout", 408, "The request took too long to arrive", "Send it again."),
    ProblemType("exists", 409, "It exists already", "Choose another name, or change what exists."),
    ProblemType("conflict", 409, "It cannot be done as things stand", "The detail says what stands in the way."),
    ProblemType(
        "running",
        409,
        "The same request is still running",
        "Wait a moment and send it again with the same Idempotency-Key.",
    ),
    ProblemType("ambiguous", 409, "Several things have this id", "Say which venue with ?venue_id=."),
    ProblemType("refused", 409, "Clopos refused it", "The detail holds Clopos' reason."),
    ProblemType("precondition_failed", 412, "It was changed since you read it", "Read it again and repeat the change."),
    ProblemType("too_large", 413, "The body is too large", "Send at most 1 MiB."),
    ProblemType(
        "unsupported_media_type",
        415,
        "The body is not JSON",
        "Send `Content-Type: application/json`, in UTF-8, not compressed.",
    ),
    ProblemType("invalid", 422, "Some values are wrong", "Each fault is in errors, with a pointer to its place."),
    ProblemType(
        "idempotency_mismatch",
        422,
        "The Idempotency-Key was used for another request",
        "Use a new key for a new request.",
    ),
    ProblemType("too_many_requests", 429, "Too many requests", "Wait as long as Retry-After says."),
    ProblemType("head_too_large", 431, "The headers are too large", "Send fewer and shorter headers."),
    ProblemType("internal", 500, "The relay failed", "Look into its log for the request id."),
    ProblemType(
        "corrupt_state",
        500,
        "What is stored cannot be read",
        "Look into the log for the request id; the documentation of operations says what to do.",
    ),
    ProblemType("upstream", 502, "Clopos failed", "Nothing was changed here. Try again later."),
    ProblemType(
        "unavailable", 503, "Redis is away", "Wait as long as Retry-After says; nothing that was committed is lost."
    ),
    ProblemType("upstream_timeout", 504, "Clopos did not answer in time", "Look at the order again before repeating."),
)

TYPES: Final[Mapping[str, ProblemType]] = {each.code: each for each in _TABLE}
"""Every type of problem there is."""
