"""The API described: OpenAPI 3.1, made from the table of operations, with the webhooks that partners receive."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from relay import __version__
from relay.api.bodies import MAX_BODY_BYTES
from relay.api.fields import BRAND_PATTERN
from relay.api.openapi_links import links_from
from relay.api.openapi_problems import PROBLEM_SCHEMA, problem_refs, problem_responses
from relay.api.operations import EVERYBODY, Operation
from relay.core.events import EVENT_TYPES, EventType

_REF: Final = "#/components/schemas/{model}"
_VARIABLE: Final = re.compile(r"\{(\w+)\}")

ALWAYS: Final = ("malformed", "unauthorized", "forbidden", "head_too_large", "internal", "unavailable")
"""What any operation can answer with."""

WITH_QUERY: Final = ("invalid",)
WITH_BODY: Final = ("duplicate_key", "timeout", "too_large", "unsupported_media_type", "invalid")
WITH_CURSOR: Final = ("bad_cursor",)
WITH_HEADERS: Final = ("bad_header",)
WITH_KEY: Final = ("bad_header", "running", "idempotency_mismatch")

_TAGS: Final = {
    "brands": "Which tenants of Clopos are looked at, and how they are doing.",
    "orders": "Orders as last known; and one that is cancelled.",
    "stations": "Stations as last known.",
    "venues": "Venues as last known.",
    "subscriptions": "Who is told what, and where.",
    "replays": "What a subscription was, or should have been, told: once more.",
    "deliveries": "What became of each event for each subscription.",
    "events": "The log of what happened.",
    "event-types": "What a subscription may ask for.",
    "ledger": "Does everything that was matched end somewhere?",
    "api-keys": "Who else may call, as what, for how long.",
    "audit": "Who changed what, when, and from where.",
    "operations": "For probes and Prometheus.",
}

_IDS: Final = {
    "subscriptions": ("^sub_[a-z2-7]{20}$", "sub_k3m5q7r2t4u6v2x4z6b3"),
    "replays": ("^rpl_[a-z2-7]{20}$", "rpl_k3m5q7r2t4u6v2x4z6b3"),
    "deliveries": ("^dlv_[a-z2-7]{20}_[0-9a-z]{1,12}$", "dlv_k3m5q7r2t4u6v2x4z6b3_1bcd2e3f4g5"),
    "events": ("^evt_[0-9a-v]{32}$", "evt_0fkq3vq6m8t1c2d4e5g7h9i0j3k5l7n9"),
    "api-keys": ("^key_[a-z2-7]{20}$", "key_k3m5q7r2t4u6v2x4z6b3"),
}
"""By the part of a path before ``{id}``: pattern and example."""

_DESCRIPTION: Final = f"""\
Webhooks for Clopos: what changes at the point of sale is pushed to partners, in order, signed, accounted for.

**Signing in.** `Authorization: Bearer …` with the admin token or an API key. A key of the role `viewer` reads all; one
of the role `partner` has its own partner's subscriptions and deliveries, and nothing else is there for it.

**Bodies** are JSON in UTF-8, at most {MAX_BODY_BYTES // 1024} KiB. Unknown fields are refused. **Errors** are
`application/problem+json`; a 422 holds every fault (of very many the first), with a pointer. **Lists** are `data` and
`next_cursor`.
**Repeating** a POST is safe with an `Idempotency-Key`. **Changing** can be made conditional with `If-Match`.
"""


def codes_of(operation: Operation) -> list[str]:
    """Every problem that an operation can answer with."""
    codes = [*ALWAYS, *operation.problems]
    fields = operation.query.model_fields
    if fields:
        codes += WITH_QUERY
    if "cursor" in fields:
        codes += WITH_CURSOR
    if operation.body is not None:
        codes += WITH_BODY
    if operation.conditional:
        codes += WITH_HEADERS
    if operation.method == "POST":
        codes += WITH_KEY
    return list(dict.fromkeys(codes))


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """Describe the API."""
    schemas, refs = _schemas(operations)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        described = _operation(operation, refs)
        links = links_from(operation, operations)
        if links:
            described["responses"][str(operation.status)]["links"] = links
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "clopos-relay",
            "version": __version__,
            "summary": "Webhooks for Clopos",
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "Where this document comes from."}],
        "security": [{"bearer": []}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": {**paths, **_open_paths()},
        "webhooks": {name: _webhook(kind, refs) for name, kind in EVENT_TYPES.items()},
        "components": {
            "schemas": {**schemas, "Problem": PROBLEM_SCHEMA},
            "responses": problem_responses([*map(codes_of, operations), *_OPEN_CODES]),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The admin token (RELAY_ADMIN_TOKEN), or an API key.",
                }
            },
        },
    }


_Refs = Mapping[tuple[type[BaseModel], str], Mapping[str, Any]]


def _schemas(operations: Sequence[Operation]) -> tuple[dict[str, Any], _Refs]:
    """Schemas of all bodies, answers and events by name, and where each model is among them."""
    bodies = dict.fromkeys(operation.body for operation in operations if operation.body is not None)
    answers = dict.fromkeys(operation.answer for operation in operations if operation.answer is not None)
    events = [kind.model for kind in EVENT_TYPES.values()]
    refs, definitions = models_json_schema(
        [
            *((model, "validation") for model in bodies),
            *((model, "serialization") for model in [*answers, *events]),
        ],
        ref_template=_REF,
        by_alias=True,
    )
    schemas: dict[str, Any] = definitions.get("$defs", {})
    for name, schema in schemas.items():
        if name.endswith("Change"):
            # What is left out of a change stays as it is: there is no default.
            for field in schema.get("properties", {}).values():
                field.pop("default", None)
    return schemas, refs  # type: ignore[return-value]  # pydantic's literal of modes is a str


def _operation(operation: Operation, refs: _Refs) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": _description(operation),
        "parameters": [*_path_parameters(operation), *_query_parameters(operation), *_headers(operation)],
        "responses": {**_success(operation, refs), **problem_refs(codes_of(operation))},
    }
    if operation.body is not None:
        described["requestBody"] = {
            "required": not operation.body_optional,
            "content": {
                "application/json": {
                    "schema": refs[operation.body, "validation"],
                    **({"examples": _examples(operation.body_examples)} if operation.body_examples else {}),
                }
            },
        }
    return described


def _description(operation: Operation) -> str:
    roles = "any role" if tuple(operation.roles) == EVERYBODY else " or ".join(operation.roles)
    scope = f"; a partner's key needs the scope `{operation.scope}`" if operation.scope else ""
    return f"{operation.description}\n\nFor {roles}{scope}.".strip()


def _examples(examples: Mapping[str, Any]) -> dict[str, Any]:
    return {name.replace(" ", "-"): {"summary": name, "value": value} for name, value in examples.items()}


def _path_parameters(operation: Operation) -> Iterable[dict[str, Any]]:
    for name in _VARIABLE.findall(operation.path):
        schema: dict[str, Any]
        if name == "brand":
            schema = {"type": "string", "pattern": BRAND_PATTERN, "examples": ["openapitest"]}
        elif operation.path.startswith("/v1/brands/"):
            schema = {"type": "string", "pattern": "^[0-9]{1,16}$", "examples": ["1"]}
        else:
            pattern, example = _IDS[operation.path.split("/")[2]]
            schema = {"type": "string", "pattern": pattern, "examples": [example]}
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _query_parameters(operation: Operation) -> Iterable[dict[str, Any]]:
    schema = operation.query.model_json_schema(mode="validation")
    for name, field in schema.get("properties", {}).items():
        shown = {key: value for key, value in field.items() if key not in ("title", "description", "default", "anyOf")}
        for choice in field.get("anyOf", []):
            if choice.get("type") != "null":
                shown |= {key: value for key, value in choice.items() if key != "title"}
        if field.get("default") is not None:
            shown["default"] = field["default"]
        yield {"name": name, "in": "query", "description": field.get("description", ""), "schema": shown}


_ETAG: Final = r'(W/)?"[!#-~\u0080-\u00ff]*"'
_ETAGS: Final = rf"\*|{_ETAG}([ \t]*,[ \t]*{_ETAG})*"
_KEY: Final = r"^[!-~]([ -~]*[!-~])?[ \t]*$"  # HTTP takes off the space at its end


def _headers(operation: Operation) -> Iterable[dict[str, Any]]:
    if operation.conditional:
        yield {
            "name": "If-Match",
            "in": "header",
            "description": "An ETag as it was given: only that version is changed.",
            "schema": {"type": "string", "pattern": f"^({_ETAGS})[ \\t]*$", "maxLength": 4096},
        }
    if operation.method == "POST":
        yield {
            "name": "Idempotency-Key",
            "in": "header",
            "description": "A repeat with the same key and body within 24 hours gets the first answer.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": _KEY},
        }


def _success(operation: Operation, refs: _Refs) -> dict[str, Any]:
    headers: dict[str, Any] = {"X-Request-Id": {"schema": {"type": "string"}}}
    if operation.etag:
        headers["ETag"] = {"schema": {"type": "string"}, "description": "For If-Match."}
    if operation.status == 201:  # noqa: PLR2004
        headers["Location"] = {"schema": {"type": "string"}, "description": "Where it is."}
    response: dict[str, Any] = {"description": operation.summary, "headers": headers}
    if operation.answer is not None:
        response["content"] = {
            "application/json": {"schema": refs[operation.answer, "serialization"], "example": operation.example}
        }
    return {str(operation.status): response}


def _webhook(kind: EventType, refs: _Refs) -> dict[str, Any]:
    text: Mapping[str, Any] = {"type": "string"}
    headers = {
        "webhook-id": "The event's id: the same on every attempt and every replay. Drop what you have seen.",
        "webhook-timestamp": "This attempt's time, Unix seconds.",
        "webhook-signature": "Standard Webhooks 1.0: `v1,…`, or `v1a,…`; two during a rotation, separated by a space.",
        "relay-attempt": "1, 2, …",
        "relay-subscription": "Whose request this is.",
    }
    return {
        "post": {
            "operationId": f"webhook_{kind.name.replace('.', '_')}",
            "tags": ["event-types"],
            "summary": kind.title,
            "description": kind.description,
            "security": [],
            "parameters": [
                {"name": name, "in": "header", "required": True, "description": described, "schema": text}
                for name, described in headers.items()
            ],
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {"schema": refs[kind.model, "serialization"], "example": dict(kind.example)}
                },
            },
            "responses": {
                "2XX": {"description": "Received. The body is not looked at."},
                "410": {"description": "Never again: the subscription is disabled."},
                "default": {
                    "description": "Anything else is a failure, and tried again; 429 and 503 with Retry-After."
                },
            },
        }
    }


_OPEN_CODES: Final = (
    ("malformed", "head_too_large"),
    ("malformed", "head_too_large", "unavailable"),
    ("malformed", "unauthorized", "head_too_large"),
)
"""What the two probes and the metrics can answer with."""


def _open_paths() -> dict[str, Any]:
    """What needs no token."""
    status = {"type": "object", "required": ["status"], "properties": {"status": {"type": "string"}}}

    def probe(name: str, summary: str, value: str, codes: Sequence[str]) -> dict[str, Any]:
        content = {"application/json": {"schema": status, "example": {"status": value}}}
        return {
            "get": {
                "operationId": name,
                "tags": ["operations"],
                "summary": summary,
                "security": [],
                "responses": {"200": {"description": summary, "content": content}, **problem_refs(codes)},
            }
        }

    metrics = {"text/plain": {"schema": {"type": "string"}, "example": "relay_redis_up 1.0\n"}}
    return {
        "/livez": probe("livez", "The process lives", "alive", _OPEN_CODES[0]),
        "/readyz": probe("readyz", "Redis can be used", "ready", _OPEN_CODES[1]),
        "/metrics": {
            "get": {
                "operationId": "metrics",
                "tags": ["operations"],
                "summary": "Metrics for Prometheus",
                "description": "With RELAY_METRICS_TOKEN set, it is wanted as a bearer token.",
                "security": [{}, {"bearer": []}],
                "responses": {
                    "200": {"description": "Prometheus' text format.", "content": metrics},
                    **problem_refs(_OPEN_CODES[2]),
                },
            }
        },
    }
