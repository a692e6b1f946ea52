"""Bodies that cannot be read, and values of the wrong kind: B06 to B16."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2 as httpx
import pytest

from tests.integration.apis import BRAND, SUBSCRIPTION, Api, pointers, running_api

JSON = {"content-type": "application/json"}


@pytest.fixture
async def api(redis_url: str) -> AsyncIterator[Api]:
    async with running_api(redis_url) as up:
        yield up


async def send(api: Api, body: bytes, **headers: str) -> httpx.Response:
    return await api.admin.post("/v1/brands", content=body, headers={**JSON, **headers})


@pytest.mark.parametrize(
    "body", [b"", b" ", b"[", b'{"brand":', b'{"brand": "a",}', b"{} {}", b"{'brand': 'a'}", b'{"a": tru}', b"\xff\xfe"]
)
async def test_what_is_not_json_is_a_400_with_its_position(api: Api, body: bytes) -> None:
    refused = await send(api, body)
    assert refused.status_code == 400
    assert refused.json()["code"] == "malformed"
    assert any(word in refused.json()["detail"] for word in ("character", "byte"))


@pytest.mark.parametrize("body", [b"null", b"[]", b'"x"', b"1", b"true"])
async def test_a_body_that_is_no_object_is_wrong_as_a_whole(api: Api, body: bytes) -> None:
    assert pointers(await send(api, body)) == {""}


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400", b"9" * 5000])
async def test_numbers_that_are_none_are_a_400(api: Api, number: bytes) -> None:
    assert (await send(api, b'{"brand": %b}' % number)).status_code == 400


@pytest.mark.parametrize("body", [b'{"brand":"a","brand":"b"}', b'{"poll":{"orders":true,"orders":false}}'])
async def test_a_key_twice_is_a_400_that_says_so(api: Api, body: bytes) -> None:
    refused = await send(api, body)
    assert refused.status_code == 400
    assert refused.json()["code"] == "duplicate_key"


@pytest.mark.parametrize("depth", [33, 50, 100_000])
async def test_deep_nesting_is_a_400(api: Api, depth: int) -> None:
    assert (await send(api, b"[" * depth)).status_code == 400
    assert (await send(api, b'{"a":' * depth + b"1" + b"}" * depth)).status_code == 400


async def test_brackets_within_strings_are_no_nesting(api: Api) -> None:
    made = await api.admin.post("/v1/subscriptions", json={**SUBSCRIPTION, "description": "[" * 40 + '\\"' + "{" * 40})
    assert made.status_code == 201


async def test_a_byte_order_mark_is_passed_over_and_other_encodings_are_refused(api: Api) -> None:
    assert (await send(api, b"\xef\xbb\xbf{}")).status_code == 422
    text = '{"brand": "a"}'
    assert (await send(api, text.encode("utf-16"))).status_code == 400
    assert (await send(api, text.encode("utf-32-le"))).status_code == 400
    assert (await send(api, b'{"brand": "\xff"}')).status_code == 400


async def test_half_a_surrogate_pair_and_nul_are_told_by_their_place(api: Api) -> None:
    assert pointers(await send(api, b'{"brand": "a\\ud800", "venues": ["\\u0000"]}')) == {"/brand", "/venues/0"}
    assert pointers(await send(api, b'{"\\udfff": 1}')) == {""}


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "text/plain",
        "application/json; charset=latin-1",
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencoded",
        "application/jsonp",
    ],
)
async def test_what_is_not_sent_as_json_is_a_415(api: Api, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    refused = await api.admin.post("/v1/brands", content=b"{}", headers=headers)
    assert refused.status_code == 415


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", 'Application/JSON; charset="UTF-8"']
)
async def test_json_may_say_that_it_is_utf8(api: Api, content_type: str) -> None:
    assert (
        await api.admin.post("/v1/brands", content=b"{}", headers={"content-type": content_type})
    ).status_code == 422


async def test_compressed_bodies_are_not_read(api: Api) -> None:
    assert (await send(api, b"\x1f\x8b", **{"content-encoding": "gzip"})).status_code == 415


async def test_a_body_beyond_a_mebibyte_is_a_413_with_and_without_its_length(api: Api) -> None:
    big = b'{"a": "' + b"x" * 1_048_576 + b'"}'
    assert (await send(api, big)).status_code == 413

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(big), 65_536):
            yield big[start : start + 65_536]

    refused = await api.admin.post("/v1/brands", content=chunks(), headers=JSON)
    assert refused.status_code == 413
    fits = b'{"a": "' + b"x" * (1_048_576 - 9) + b'"}'
    assert len(fits) == 1_048_576
    assert (await send(api, fits)).status_code == 422


async def test_an_unknown_field_is_refused_with_the_known_one_that_looks_like_it(api: Api) -> None:
    refused = await api.admin.post(
        "/v1/subscriptions", json={"url": None, "event_type": ["order.*"], "event_types": ["order.*"], "color": 1}
    )
    assert pointers(refused) == {"/event_type", "/color"}
    by_pointer = {error["pointer"]: error for error in refused.json()["errors"]}
    assert by_pointer["/event_type"]["code"] == "unknown_field"
    assert "event_types" in by_pointer["/event_type"]["detail"]
    nested = await api.admin.post("/v1/brands", json={**BRAND, "poll": {"order": True}})
    assert pointers(nested) == {"/poll/order"}
    assert "orders" in nested.json()["errors"][0]["detail"]


async def test_values_of_the_wrong_type_are_all_told_in_one_answer(api: Api) -> None:
    refused = await api.admin.post(
        "/v1/subscriptions",
        json={
            "name": 5,
            "url": 1,
            "event_types": "order.*",
            "brands": {},
            "venues": ["1", True, 1.5, -1, 2**53],
            "headers": [],
            "include_raw": "true",
            "enabled": 1,
            "max_concurrency": True,
            "ordering": "time",
            "rate_limit": 5,
            "retry_schedule": 5,
        },
    )
    assert pointers(refused) == {
        "/name",
        "/url",
        "/event_types",
        "/brands",
        "/venues/0",
        "/venues/1",
        "/venues/2",
        "/venues/3",
        "/venues/4",
        "/headers",
        "/include_raw",
        "/enabled",
        "/max_concurrency",
        "/ordering",
        "/rate_limit",
        "/retry_schedule",
    }
    assert "2 values" not in refused.json()["detail"]
    assert refused.json()["detail"] == "16 values are wrong."


async def test_no_answer_repeats_what_was_sent(api: Api) -> None:
    secret = "wh-this-is-secret"
    refused = await api.admin.post(
        "/v1/subscriptions",
        json={
            "name": f"{secret}\n",
            "url": f"https://{secret}:{secret}@courier.example/{secret}",
            "event_types": [secret],
            "secret": secret,
            "signature": secret,
            "headers": {"x-a": f"{secret}\n"},
            "redact": [secret],
            "rate_limit": secret,
            "retry_schedule": secret,
            "max_age": secret,
            "start": secret,
            "brands": [secret],
        },
    )
    assert len(pointers(refused)) >= 11
    assert secret not in refused.text


@pytest.mark.timeout(30)  # a square would take an hour
async def test_a_body_of_the_worst_shape_is_answered_at_once(api: Api) -> None:
    for body in (b'{"a":' + b"[" * 500_000, b'"' * 1_000_000, b"[1," * 300_000, b'{"a":"' + b"\\" * 1_000_000):
        assert (await send(api, body)).status_code == 400
    assert (await send(api, b'{"a":"' + b'\\"' * 500_000)).status_code == 400  # a string without end, full of quotes


async def test_a_number_beyond_64_bits_is_wrong_with_a_key_for_repeats_too(api: Api) -> None:
    for number in (b"9" * 19, b"9" * 30, b"9" * 400):
        refused = await send(api, b'{"brand": %b}' % number, **{"idempotency-key": f"k{len(number)}"})
        assert "/brand" in pointers(refused)


@pytest.mark.timeout(30)
async def test_of_very_many_faults_the_first_are_told_and_an_unknown_field_more_costs_nothing(api: Api) -> None:
    unknown = await send(api, b"{" + b",".join(b'"f%05d":0' % number for number in range(50_000)) + b"}")
    faulty = await send(api, b"[" + b'"\\u0000",' * 100_000 + b"0]")
    assert (unknown.status_code, faulty.status_code) == (422, 422)
    assert "/brand" in pointers(unknown)  # what is missing is told all the same
    assert len(unknown.json()["errors"]) < 100
    assert len(faulty.json()["errors"]) == 200
    assert faulty.json()["detail"] == "100000 values are wrong. The first 200 are told."
