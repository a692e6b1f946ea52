"""How does the API say that something is wrong?  As problem+json (RFC 9457), each of a type from one table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from starlette.responses import Response

from relay.api.problem_types import TYPES
from relay.core.errors import (
    CallerError,
    CloposError,
    ConflictError,
    ForbiddenError,
    HeldBackError,
    InvalidError,
    NoAnswerError,
    NotFoundError,
    Problem,
    RelayError,
    StaleError,
    StoreAwayError,
    ThrottledError,
)
from relay.store.away import explain
from relay.store.documents import VersionMismatch

MEDIA_TYPE: Final = "application/problem+json"
MOST_FAULTS: Final = 200
"""So many are told in one answer."""

RETRY_AFTER_S: Final = 2
"""What a 503 asks a client to wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One entry of ``errors``.

    Attributes:
        pointer: JSON Pointer into the body, or ``/name`` of a query parameter.
        code: for programs, where there is one.
        place: ``query`` for a query parameter.
    """

    pointer: str
    detail: str
    code: str | None = None
    place: str | None = None

    def shown(self) -> dict[str, str]:
        """As the answer holds it."""
        found = {"pointer": self.pointer, "detail": self.detail}
        if self.code is not None:
            found["code"] = self.code
        if self.place is not None:
            found["in"] = self.place
        return found


def fault_of(problem: Problem) -> Fault:
    """A fault that the core found."""
    return Fault(pointer=problem.pointer, detail=problem.detail)


class ProblemError(Exception):
    """Ends a request with a problem.

    Attributes:
        kind: one of the table.
        extra: further members.
        headers: of the answer.
        hidden: what a 404 does not tell of: it is there, and another's.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        faults: Sequence[Fault] = (),
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        hidden: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = TYPES[code]
        self.detail = detail
        self.faults = tuple(faults)
        self.extra = dict(extra or {})
        self.headers = dict(headers or {})
        self.hidden = hidden


def invalid(faults: Sequence[Fault]) -> ProblemError:
    """A 422 with every fault; of very many the first."""
    detail = "One value is wrong." if len(faults) == 1 else f"{len(faults)} values are wrong."
    if len(faults) > MOST_FAULTS:
        detail += f" The first {MOST_FAULTS} are told."
    return ProblemError("invalid", detail, faults=faults[:MOST_FAULTS])


def not_found(what: str, *, hidden: str | None = None) -> ProblemError:
    """A 404: ``what`` follows "no"; ``hidden`` names the thing, for the audit log, where it is there and another's."""
    return ProblemError("not_found", f"There is no such {what}, or not for this key.", hidden=hidden)


def respond(problem: ProblemError) -> Response:
    """Make the answer."""
    content: dict[str, Any] = {
        "type": problem.kind.uri,
        "title": problem.kind.title,
        "status": problem.kind.status,
        "detail": problem.detail,
        "code": problem.kind.code,
    }
    if problem.faults:
        content["errors"] = [fault.shown() for fault in problem.faults]
    content |= problem.extra
    return Response(
        orjson.dumps(content), status_code=problem.kind.status, media_type=MEDIA_TYPE, headers=problem.headers
    )


@dataclass(frozen=True, slots=True)
class Translated:
    """What an exception is answered with; ``ours`` says that it belongs into the log as an error."""

    problem: ProblemError
    ours: bool = field(default=False)


def translate(error: BaseException) -> Translated:
    """Say what an exception of a handler means to the client."""
    error = explain(error) or error
    match error:
        case ProblemError():
            return Translated(error)
        case CallerError():
            return Translated(_of_caller(error))
        case CloposError():
            return Translated(_of_clopos(error))
        case StoreAwayError():
            return Translated(_away(error))
        case StaleError():
            return Translated(ProblemError("conflict", error.message))
    code = error.reason if isinstance(error, RelayError) and error.reason in TYPES else "internal"
    detail = error.message if isinstance(error, RelayError) else "The relay failed. Its log says more, by request id."
    return Translated(ProblemError(code, detail), ours=True)


def _away(error: StoreAwayError) -> ProblemError:
    return ProblemError(
        "unavailable", error.message, extra={"reason": error.reason}, headers={"retry-after": str(RETRY_AFTER_S)}
    )


def _of_caller(error: CallerError) -> ProblemError:
    match error:
        case InvalidError():
            return invalid([fault_of(problem) for problem in error.problems])
        case NotFoundError():
            return ProblemError("not_found", error.message)
        case VersionMismatch():
            return ProblemError("precondition_failed", error.message)
        case ConflictError():
            return ProblemError(_CONFLICTS.get(error.reason, "conflict"), error.message)
        case ForbiddenError():
            return ProblemError("forbidden", error.message)
    return ProblemError("malformed", error.message)


def _of_clopos(error: CloposError) -> ProblemError:
    """Clopos' failures, where a command asked it. A refusal is a conflict, and told by whoever commanded."""
    extra = {"reason": error.reason}
    if isinstance(error, HeldBackError | ThrottledError):
        headers = {"retry-after": str(max(1, round(error.wait_s)))}
        return ProblemError("upstream", error.message, extra=extra, headers=headers)
    if isinstance(error, NoAnswerError) and error.reason == "timeout":
        return ProblemError("upstream_timeout", error.message, extra=extra)
    return ProblemError("upstream", error.message, extra=extra)


_CONFLICTS: Final = {"exists": "exists", "clopos_refused": "refused"}
"""Reason of a conflict -> code of its problem; all others are ``conflict``."""
