"""/openapi.json and /docs: the API described, for programs and for people; the page needs nothing from elsewhere."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, Final

import orjson
from jinja2 import Environment, StrictUndefined
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from relay.api.openapi import codes_of, document
from relay.api.operations import Operation
from relay.api.problem_types import TYPES
from relay.core.events import EVENT_TYPES

CACHE: Final = "public, max-age=300"


def docs_routes(operations: Sequence[Operation]) -> list[Route]:
    """The two routes; both are made once."""
    described = document(operations)
    as_json = orjson.dumps(described)
    css = _read("docs_page.css")
    page = _page(described, operations, css)
    style = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )

    async def openapi(_request: Request) -> Response:
        """Give the OpenAPI document."""
        return Response(as_json, media_type="application/json", headers={"cache-control": CACHE})

    async def docs(_request: Request) -> Response:
        """Show it."""
        return Response(
            page, media_type="text/html", headers={"content-security-policy": policy, "cache-control": CACHE}
        )

    return [Route("/openapi.json", openapi, methods=["GET"]), Route("/docs", docs, methods=["GET"])]


def _read(name: str) -> str:
    return (resources.files("relay.api") / name).read_text(encoding="utf-8")


def _page(described: Mapping[str, Any], operations: Sequence[Operation], css: str) -> str:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    shown = [_operation(each, described) for each in operations]
    tags = [
        {**tag, "operations": [each for each in shown if each["tag"] == tag["name"]]}
        for tag in described["tags"]
        if any(each["tag"] == tag["name"] for each in shown)
    ]
    return environment.from_string(_read("docs_page.html")).render(
        document=described,
        css=css,
        tags=tags,
        introduction=_paragraphs(described["info"]["description"]),
        example_url="http://127.0.0.1:8080",
        events=[
            {"name": kind.name, "description": kind.description, "json": _pretty(dict(kind.example))}
            for kind in EVENT_TYPES.values()
        ],
        problems=list(TYPES.values()),
    )


def _operation(operation: Operation, described: Mapping[str, Any]) -> dict[str, Any]:
    own = described["paths"][operation.path][operation.method.lower()]
    return {
        "id": operation.name,
        "tag": operation.tag,
        "method": operation.method,
        "path": operation.path,
        "summary": operation.summary,
        "description": _paragraphs(own["description"]),
        "parameters": [
            {
                "name": each["name"],
                "place": each["in"],
                "type": _type(each["schema"]),
                "description": _plain(each.get("description", "")),
            }
            for each in own["parameters"]
        ],
        "fields": _fields(operation, described),
        "body_examples": [{"summary": name, "json": _pretty(value)} for name, value in operation.body_examples.items()],
        "status": str(operation.status),
        "answer": None if operation.answer is None else _pretty(operation.example),
        "problems": codes_of(operation),
    }


def _fields(operation: Operation, described: Mapping[str, Any]) -> list[dict[str, Any]]:
    if operation.body is None:
        return []
    schema = described["components"]["schemas"][operation.body.__name__]
    required = schema.get("required", [])
    return [
        {
            "name": name,
            "required": name in required,
            "type": _type(field),
            "description": _plain(field.get("description", "")),
        }
        for name, field in schema.get("properties", {}).items()
    ]


def _type(schema: Mapping[str, Any]) -> str:
    """A schema in a few words."""
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"])) if len(schema["enum"]) <= 6 else "string"  # noqa: PLR2004
    if "const" in schema:
        return str(schema["const"])
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(_type(each) for each in schema["anyOf"]))
    if "$ref" in schema:
        return "object"
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("format") or schema.get("type", "any"))


def _paragraphs(text: str) -> list[str]:
    return [_plain(part) for part in text.split("\n\n") if part.strip()]


def _plain(text: str) -> str:
    """Text without the marks of Markdown."""
    return text.replace("``", "").replace("`", "").replace("**", "").replace("\n", " ").strip()


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
