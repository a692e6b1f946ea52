"""How are problems described in the OpenAPI document?  Each combination that occurs once, by reference."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from relay.api.problem_types import TYPES, ProblemType

PROBLEM_SCHEMA: Final[dict[str, Any]] = {
    "title": "Problem",
    "description": "What went wrong (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "description": "Where it is explained."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What to do, in words."},
        "code": {"type": "string", "enum": sorted(TYPES)},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {
                    "pointer": {"type": "string", "description": "JSON Pointer into the body; /name of a parameter."},
                    "detail": {"type": "string"},
                    "code": {"type": "string"},
                    "in": {"type": "string", "enum": ["query"]},
                },
            },
        },
    },
}


def problem_refs(codes: Iterable[str]) -> dict[str, Any]:
    """The responses of an operation that can answer with these problems, by status."""
    return {
        str(status): {"$ref": f"#/components/responses/{_name(kinds)}"} for status, kinds in _by_status(codes).items()
    }


def problem_responses(operations: Iterable[Iterable[str]]) -> dict[str, Any]:
    """What those refer to.

    Args:
        operations: codes of each operation.
    """
    found = {_name(kinds): _response(kinds) for codes in operations for kinds in _by_status(codes).values()}
    return dict(sorted(found.items()))


def _by_status(codes: Iterable[str]) -> dict[int, list[ProblemType]]:
    by_status: dict[int, list[ProblemType]] = {}
    for code in sorted(codes, key=list(TYPES).index):
        by_status.setdefault(TYPES[code].status, []).append(TYPES[code])
    return dict(sorted(by_status.items()))


def _name(kinds: Sequence[ProblemType]) -> str:
    return "-".join(kind.code for kind in kinds)


def _response(kinds: Sequence[ProblemType]) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if any(kind.code == "unauthorized" for kind in kinds):
        headers["WWW-Authenticate"] = {"schema": {"type": "string"}}
    if kinds[0].code in ("too_many_requests", "unavailable"):
        headers["Retry-After"] = {"schema": {"type": "string"}, "description": "Seconds."}
    return {
        "description": "; ".join(f"`{kind.code}`: {kind.title}" for kind in kinds),
        **({"headers": headers} if headers else {}),
        "content": {
            "application/problem+json": {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": {kind.code: {"value": _example(kind)} for kind in kinds},
            }
        },
    }


def _example(kind: ProblemType) -> dict[str, Any]:
    return {
        "type": kind.uri,
        "title": kind.title,
        "status": kind.status,
        "detail": kind.advice,
        "code": kind.code,
    }
