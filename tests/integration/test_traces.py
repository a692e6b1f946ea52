"""An event's way from the look to each partner's answer is one trace, whoever has a part in it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, format_span_id, format_trace_id

from relay import traces
from relay.settings import Role, load_settings
from tests.integration.apis import LOOPBACK, Api, running_api
from tests.integration.relays import Call, order, partner


@pytest.fixture
async def spans() -> AsyncIterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    assert traces.start(exporter)
    yield exporter
    await traces.stop()


@pytest.fixture
async def api(redis_url: str) -> AsyncIterator[Api]:
    async with running_api(redis_url, allow_networks=LOOPBACK, retry_schedule=(0.01,)) as up:
        yield up


def ids(span: ReadableSpan) -> tuple[str, str]:
    return format_trace_id(span.context.trace_id), format_span_id(span.context.span_id)


async def delivered(api: Api) -> list[Call]:
    """One order to a partner who fails first."""

    async def answer(_call: Call) -> web.StreamResponse:
        return web.Response(status=503 if len(endpoint.calls) == 1 else 204)

    await api.brand(venues=[1])
    async with partner(answer) as endpoint:
        await api.subscription(url=endpoint.url)
        await api.see(order(1, customer={"id": 1, "name": "A", "phone": "+994705401040", "address": None, "ref": None}))
        await api.deliver()
        return await endpoint.got(2)


async def test_the_look_and_every_attempt_are_one_trace(api: Api, spans: InMemorySpanExporter) -> None:
    calls = await delivered(api)
    look, failed, accepted = spans.get_finished_spans()
    assert [look.name, failed.name, accepted.name] == ["look", "attempt", "attempt"]
    assert {ids(span)[0] for span in (look, failed, accepted)} == {ids(look)[0]}
    assert look.parent is None
    assert {span.parent.span_id for span in (failed, accepted) if span.parent} == {look.context.span_id}
    assert look.attributes
    assert look.attributes["relay.event_id"] == calls[0].id
    assert (look.attributes["relay.brand"], look.attributes["relay.origin"]) == ("openapitest", "poll")
    statuses = [span.attributes["http.response.status_code"] for span in (failed, accepted) if span.attributes]
    assert statuses == [503, 204]
    assert (failed.status.status_code, failed.status.description) == (StatusCode.ERROR, "5xx")
    assert accepted.status.status_code is StatusCode.UNSET
    assert look.end_time
    assert failed.start_time
    assert look.end_time <= failed.start_time


async def test_nothing_personal_is_in_a_span(api: Api, spans: InMemorySpanExporter) -> None:
    await delivered(api)
    text = " ".join(span.to_json() for span in spans.get_finished_spans())
    assert "relay.subject" in text
    assert "994705401040" not in text
    assert "127.0.0.1" not in text  # nor where a partner listens: a URL may hold a secret


async def test_a_sampler_that_goes_by_the_trace_takes_all_of_an_event_or_nothing(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    exporter = InMemorySpanExporter()
    traces.start(exporter)
    await api.brand(venues=[1])
    async with partner() as endpoint:
        await api.subscription(url=endpoint.url)
        await api.see(*[order(number) for number in range(1, 33)])
        await api.deliver()
    await traces.stop()
    looks, attempts = (
        {ids(span)[0] for span in exporter.get_finished_spans() if span.name == name} for name in ("look", "attempt")
    )
    assert looks == attempts
    assert 0 < len(looks) < 32


def test_the_ids_of_a_trace_are_those_of_its_event_for_ever() -> None:
    known = traces.ids_of("evt_kjuj82i81agm68el20bnabdqg1r10933")
    assert (format_trace_id(known.trace), format_span_id(known.span)) == (
        "2600e9bb28ee76fe6b0cf9b3eab5dc9a",
        "3f4c06c3bab40804",
    )
    assert traces.ids_of("evt_qn42c1er1m49srerosf6vlcrsrnivtah") != known


def test_off_it_imports_nothing_of_it() -> None:
    # redis-py imports the interface where that is installed; the rest is ours alone.
    script = "import sys, relay.bootstrap, workers.process; print('opentelemetry.exporter' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout == "False\n"
    )


async def test_without_opentelemetry_it_says_so_and_goes_on(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    assert not traces.start()
    assert not traces.on()
    assert await delivered(api)


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_opentelemetrys_own_variables_say_whether(environ: dict[str, str], wanted: bool) -> None:  # noqa: FBT001  (a case)
    assert load_settings(environ, role=Role.COMMAND).traces is wanted
