"""The API described: the OpenAPI document, its examples, the page of documentation, the types of events."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from typing import Any

import pytest
from pydantic import BaseModel

from relay.api.app import OPERATIONS
from relay.api.openapi import codes_of, document
from relay.api.problem_types import TYPES
from relay.api.validation import validate
from relay.core.addresses import NOWHERE
from relay.core.events import EVENT_TYPES
from tests.integration.apis import Api, running_api


@pytest.fixture
async def api(redis_url: str) -> AsyncIterator[Api]:
    async with running_api(redis_url) as up:
        yield up


class _Context:
    allow = NOWHERE


def walk(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [value, *[found for each in inner for found in walk(each)]]


def test_every_reference_leads_somewhere_and_every_operation_has_an_example() -> None:
    described = document(OPERATIONS)
    assert described["openapi"].startswith("3.1.")
    for part in walk(described):
        reference = part.get("$ref") if isinstance(part, dict) else None
        if isinstance(reference, str):
            target: Any = described
            for step in reference.removeprefix("#/").split("/"):
                target = target[step]
    for operation in OPERATIONS:
        own = described["paths"][operation.path][operation.method.lower()]
        assert own["summary"]
        success = own["responses"][str(operation.status)]
        if operation.status != 204:
            assert success["content"]["application/json"]["example"] is not None, operation.name
        if operation.body is not None and operation.body.model_fields:
            assert own["requestBody"]["content"]["application/json"]["examples"], operation.name
        assert {"401", "403", "503"} <= own["responses"].keys()


def test_the_routes_of_the_contract_are_all_there() -> None:
    described = {(operation.method, operation.path) for operation in OPERATIONS}
    brand, subscription = "/v1/brands/{brand}", "/v1/subscriptions/{id}"
    assert described == {
        *((method, "/v1/brands") for method in ("GET", "POST")),
        *((method, brand) for method in ("GET", "PATCH", "DELETE")),
        ("POST", f"{brand}/poll"),
        ("GET", f"{brand}/orders"),
        ("GET", f"{brand}/orders/{{id}}"),
        ("POST", f"{brand}/orders/{{id}}/ignore"),
        ("DELETE", f"{brand}/orders/{{id}}/customer"),
        ("GET", f"{brand}/stations"),
        ("GET", f"{brand}/venues"),
        *((method, "/v1/subscriptions") for method in ("GET", "POST")),
        *((method, subscription) for method in ("GET", "PATCH", "DELETE")),
        *(("POST", f"{subscription}/{action}") for action in ("test", "pause", "resume", "rotate-secret", "replay")),
        ("GET", f"{subscription}/events"),
        *((method, "/v1/replays/{id}") for method in ("GET", "DELETE")),
        ("GET", "/v1/events"),
        ("GET", "/v1/events/{id}"),
        ("GET", "/v1/event-types"),
        ("GET", "/v1/deliveries"),
        ("GET", "/v1/deliveries/{id}"),
        ("POST", "/v1/deliveries/{id}/retry"),
        ("GET", "/v1/ledger"),
        *((method, "/v1/api-keys") for method in ("GET", "POST")),
        ("DELETE", "/v1/api-keys/{id}"),
        ("GET", "/v1/audit"),
    }


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_examples_are_what_the_models_take_and_give(operation: Any) -> None:
    for name, example in operation.body_examples.items():
        assert isinstance(validate(operation.body, example, context=_Context()), BaseModel), name
    if operation.answer is not None:
        shown = operation.answer.model_validate(operation.example).model_dump(mode="json", by_alias=True)
        assert shown == operation.example
    assert set(codes_of(operation)) <= set(TYPES)


def test_the_webhooks_are_the_types_of_events_with_their_schemas() -> None:
    described = document(OPERATIONS)
    assert described["webhooks"].keys() == EVENT_TYPES.keys()
    for name, webhook in described["webhooks"].items():
        post = webhook["post"]
        content = post["requestBody"]["content"]["application/json"]
        assert content["example"] == EVENT_TYPES[name].example
        assert content["schema"]["$ref"].startswith("#/components/schemas/")
        assert {parameter["name"] for parameter in post["parameters"]} >= {
            "webhook-id",
            "webhook-timestamp",
            "webhook-signature",
        }


async def test_the_document_and_the_page_need_no_token(api: Api) -> None:
    answer = await api.nobody.get("/openapi.json")
    assert answer.status_code == 200
    assert answer.json() == document(OPERATIONS)
    assert "http" not in str(answer.json()["servers"])


class _Page(HTMLParser):
    """What a page loads, links to and has places for."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.scripts = 0
        self.styles: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: text or "" for name, text in attrs}
        self.scripts += tag == "script" or any(name.startswith("on") for name in found)
        self.styles += [found["style"]] if "style" in found else []
        self.ids += [found["id"]] if "id" in found else []
        if tag == "a":
            self.links.append(found["href"])
        elif "src" in found or "href" in found:
            self.loads.append(found.get("src") or found["href"])


async def test_the_page_shows_all_and_loads_nothing(api: Api) -> None:
    answer = await api.nobody.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    page = _Page()
    page.feed(answer.text)
    assert (page.loads, page.scripts, page.styles) == ([], 0, [])
    assert len(page.ids) == len(set(page.ids))
    for operation in OPERATIONS:
        assert operation.name in page.ids
    for link in page.links:
        assert link == "/openapi.json" or link.removeprefix("#") in page.ids, link
    for kind in TYPES.values():
        assert kind.uri.removeprefix("/docs#") in page.ids
    assert "``" not in re.sub(r"<pre.*?</pre>", "", answer.text, flags=re.DOTALL)


async def test_a_problem_says_where_it_is_explained(api: Api) -> None:
    refused = (await api.nobody.get("/v1/brands")).json()
    assert refused.keys() == {"type", "title", "status", "detail", "code"}
    place = refused["type"].partition("#")[2]
    assert f'id="{place}"' in (await api.nobody.get("/docs")).text


async def test_types_of_events_come_with_schema_and_example(api: Api) -> None:
    listed = (await api.admin.get("/v1/event-types")).json()["data"]
    assert [each["name"] for each in listed] == list(EVENT_TYPES)
    first = (await api.admin.get("/v1/event-types?limit=5")).json()
    rest = (await api.admin.get("/v1/event-types", params={"cursor": first["next_cursor"]})).json()
    assert [*first["data"], *rest["data"]] == listed
    for each in listed:
        assert each["example"]["type"] == each["name"]
        assert each["schema"]["properties"]["type"]["const"] == each["name"]
        assert each["operational"] == each["name"].startswith("relay.")
