"""Everything that can go wrong, by whose fault it is.

    RelayError
    ├── CloposError                 Clopos, or the way to it
    │   ├── NoAnswerError           no answer came: dns, tls, insecure, connect, reset, timeout
    │   ├── RefusedError            it answered, and the answer is a failure
    │   │   ├── SignInError         the credentials or the token
    │   │   ├── ThrottledError      the quota; says how long to wait
    │   │   └── UnknownThingError   404: no such order, no such venue
    │   ├── HeldBackError           it was not asked: an earlier failure or the quota says to wait
    │   ├── DeadlyError             it was not asked: reading its answer has ended worker after worker
    │   ├── PageUnreadable          it answered with what is not a page: not_json, truncated, …
    │   └── RowUnreadable           one row of a page; the others go on
    ├── CallerError                 whoever called us: the API's client, the operator
    │   ├── InvalidError            what was sent is wrong; every fault, with a pointer
    │   ├── NotFoundError
    │   ├── ConflictError
    │   └── ForbiddenError
    └── OursError                   ours, or of what we run on
        ├── StoreAwayError          Redis does not answer, or refuses to write
        ├── StaleError              another worker owns it now; nothing was written
        └── CorruptStateError       what is stored is not what was written

A partner's fault is an outcome of an attempt, not an error: it is stored, not raised.

Each error carries ``reason``, a slug for the log, the metric and the answer. A message says what to do; it never holds
a secret, a submitted value or anything of a customer's.
"""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of what a caller sent.

    Attributes:
        pointer: where, as a JSON Pointer (RFC 6901) relative to what was checked; "" is the whole.
        detail: what is wrong and what would be right, without the value that was sent.
    """

    pointer: str
    detail: str

    def under(self, pointer: str) -> "Problem":
        """Give the same problem, seen from an enclosing document in which it lies at ``pointer``."""
        return Problem(pointer + self.pointer, self.detail)


class RelayError(Exception):
    """The root: whatever this project raises on purpose.

    Attributes:
        reason: a slug, stable, for logs, metrics and answers.
        message: a sentence for people.
    """

    default_reason: ClassVar[str] = "internal"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason if reason is not None else self.default_reason


class CloposError(RelayError):
    """Clopos, or the way to it, is at fault."""

    default_reason = "clopos"


class NoAnswerError(CloposError):
    """No answer came.

    ``reason`` is ``dns``, ``tls``, ``insecure``, ``connect``, ``reset``, ``truncated``, ``timeout`` or ``oversize``.
    """

    default_reason = "no_answer"


class RefusedError(CloposError):
    """Clopos answered, and the answer is a failure.

    Attributes:
        status: the HTTP status; it can be 200, as failures come with that too.
    """

    default_reason = "refused"

    def __init__(self, message: str, *, reason: str | None = None, status: int) -> None:
        super().__init__(message, reason=reason)
        self.status = status


class SignInError(RefusedError):
    """The credentials or the token were refused."""

    default_reason = "unauthorized"


class ThrottledError(RefusedError):
    """The quota is used up.

    Attributes:
        wait_s: how long no request of the brand may be made, in seconds.
    """

    default_reason = "throttled"

    def __init__(self, message: str, *, reason: str | None = None, status: int = 429, wait_s: float) -> None:
        super().__init__(message, reason=reason, status=status)
        self.wait_s = wait_s


class UnknownThingError(RefusedError):
    """Clopos does not know the order, the venue or whatever was asked for."""

    default_reason = "not_found"


class HeldBackError(CloposError):
    """Clopos was not asked: the quota leaves no room, or a failure a while ago said to wait.

    Attributes:
        wait_s: how long it makes no sense to ask again, in seconds.
    """

    default_reason = "held_back"

    def __init__(self, message: str, *, reason: str | None = None, wait_s: float) -> None:
        super().__init__(message, reason=reason)
        self.wait_s = wait_s


class DeadlyError(CloposError):
    """Clopos was not asked: reading its answer has ended the worker, several times in a row."""

    default_reason = "deadly"


class PageUnreadable(CloposError):  # noqa: N818 - reads as the sentence its callers say
    """What came is not a page; ``reason`` is one of ``relay.clopos.schema``'s: ``not_json``, ``truncated``, …."""

    default_reason = "not_json"


class RowUnreadable(CloposError):  # noqa: N818 - reads as the sentence its callers say
    """One row cannot be read or has no usable id; it is set aside, and the others go on.

    Attributes:
        row_id: the row's id where it could be told, else None.
    """

    default_reason = "unreadable"

    def __init__(self, message: str, *, reason: str | None = None, row_id: int | None = None) -> None:
        super().__init__(message, reason=reason)
        self.row_id = row_id


class CallerError(RelayError):
    """Whoever called is at fault, and is told what to do."""

    default_reason = "bad_request"


class InvalidError(CallerError):
    """What was sent could be parsed and is wrong.

    Attributes:
        problems: every fault, in the order of the document.
    """

    default_reason = "invalid"

    def __init__(self, problems: list[Problem], message: str = "Some fields are wrong.") -> None:
        super().__init__(message)
        self.problems = problems


class NotFoundError(CallerError):
    """There is no such thing, or not for this caller."""

    default_reason = "not_found"


class ConflictError(CallerError):
    """It cannot be done as things stand."""

    default_reason = "conflict"


class ForbiddenError(CallerError):
    """The caller's role does not reach that far."""

    default_reason = "forbidden"


class OursError(RelayError):
    """We, or what we run on, are at fault."""

    default_reason = "internal"


class StoreAwayError(OursError):
    """Redis does not answer, or does not write: ``away``, ``oom``, ``readonly``, ``busy``, ``misconf``."""

    default_reason = "away"


class StaleError(OursError):
    """Another worker owns it by now; nothing was written."""

    default_reason = "stale"


class CorruptStateError(OursError):
    """What is stored is not what this or an older version writes."""

    default_reason = "corrupt_state"
