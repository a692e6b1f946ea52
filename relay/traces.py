"""What does OpenTelemetry see?  Each event's way as one trace: the look that found it, and every attempt at a partner.

Nothing is carried through the queue: the ids of the trace and of its first span are a hash of the event's id, so
whoever has the event has its trace, after a crash and in a replay too. A sampler that goes by the trace's id decides
the same in every process. Until ``start`` is called, a call costs one comparison, and OpenTelemetry is not imported.
"""

import asyncio
import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, cast

from relay import logs

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

Attributes = Mapping[str, str | int | None]
"""Of a span: ids, counts, statuses; no names of persons, no URLs. What is None is left out."""

SERVICE: Final = "clopos-relay"
"""Unless OTEL_SERVICE_NAME says otherwise."""

STOP_S: Final = 2.0
"""So long the last spans may take on their way out."""

_PERSON: Final = b"relay-trace-1"
_MS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class TraceIds:
    """Of one event: its trace, and the span that begins it."""

    trace: int
    span: int


def ids_of(event_id: str) -> TraceIds:
    """The ids of an event's trace, the same wherever they are asked for."""
    digest = blake2b(event_id.encode(), digest_size=24, person=_PERSON).digest()
    return TraceIds(int.from_bytes(digest[:16]), int.from_bytes(digest[16:]))


def on() -> bool:
    """Whether anybody listens."""
    return _on is not None


def found(event_id: str, *, what: str, began_ms: int, ended_ms: int, attributes: Attributes) -> None:
    """Note how an event came to be: the first span of its trace.

    Args:
        event_id: of an event that was committed.
        what: a ``look`` at Clopos, a ``command`` to it, or an ``announcement`` of our own.
        began_ms: before Clopos was asked; Redis' clock, like ``ended_ms``.
        ended_ms: when it was committed.
        attributes: which event, of whom.
    """
    if _on is not None:
        _on.found(event_id, what, attributes, (began_ms, ended_ms))


def attempted(event_id: str, *, began_ms: int, ended_ms: int, attributes: Attributes, error: str | None) -> None:
    """Note an attempt at a partner: one more span of the event's trace.

    Args:
        event_id: of what was sent.
        began_ms: Redis' clock, like ``ended_ms``.
        ended_ms: when it was over.
        attributes: which delivery, and what was answered.
        error: why it failed, a word; None where it did not.
    """
    if _on is not None:
        _on.attempted(event_id, attributes, (began_ms, ended_ms), error)


def start(exporter: "SpanExporter | None" = None) -> bool:
    """Begin to export; False, and a line in the log, where OpenTelemetry is not installed.

    Args:
        exporter: where spans go, at once; by default OTLP over HTTP, in batches, as the variables OTEL_… say.
    """
    global _on  # noqa: PLW0603  one for a process, like its log
    try:
        _on = _Tracing(exporter)
    except ImportError as error:
        logs.event(
            "no traces",
            level="warning",
            reason="OTEL_EXPORTER_OTLP_ENDPOINT is set without OpenTelemetry: pip install clopos-relay[otel]",
            exc=error,
        )
        return False
    return True


async def stop() -> None:
    """Send what there is, within ``STOP_S``, and export no more."""
    global _on
    ended, _on = _on, None
    if ended is not None:
        # A collector that hangs must not hold up the end of the process: so a thread that dies with it.
        closing = threading.Thread(target=ended.provider.shutdown, name="traces", daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, STOP_S)


class _Ids:
    """Gives the SDK the ids that a span is to have; an ``IdGenerator``, which it cannot inherit from.

    One event loop uses it, and never waits between saying the ids and starting the span.
    """

    def __init__(self) -> None:
        self.trace = 0
        self.span = 0

    def generate_trace_id(self) -> int:
        return self.trace

    def generate_span_id(self) -> int:
        return self.span or random.getrandbits(64)

    def is_trace_id_random(self) -> bool:
        return True  # a hash is as good


class _Tracing:
    """A provider of OpenTelemetry's, and how an event's spans are made."""

    def __init__(self, exporter: "SpanExporter | None") -> None:
        # Imported here: it is an extra, and takes a tenth of a second.
        from opentelemetry import trace as api  # noqa: PLC0415
        from opentelemetry.context import Context  # noqa: PLC0415
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.trace.sampling import Decision  # noqa: PLC0415

        self._api = api
        self._ids = _Ids()
        resource = Resource.create()
        if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: SERVICE}))
        ids = cast("Any", self._ids)
        self.provider = TracerProvider(resource=resource, id_generator=ids, shutdown_on_exit=False)
        if exporter is None:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

            self.provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        else:
            self.provider.add_span_processor(SimpleSpanProcessor(exporter))
        self._tracer = self.provider.get_tracer("relay")
        self._empty = Context()
        self._sampled = Decision.RECORD_AND_SAMPLE

    def found(self, event_id: str, what: str, attributes: Attributes, times_ms: tuple[int, int]) -> None:
        """The first span of an event's trace."""
        ids = ids_of(event_id)
        self._ids.trace, self._ids.span = ids.trace, ids.span
        try:
            self._span(what, self._context(0, 0), attributes, times_ms).end(times_ms[1] * _MS)
        finally:
            self._ids.span = 0

    def attempted(self, event_id: str, attributes: Attributes, times_ms: tuple[int, int], error: str | None) -> None:
        """A span below it."""
        ids = ids_of(event_id)
        parent = self._context(ids.trace, ids.span)
        span = self._span("attempt", parent, attributes, times_ms)
        if error is not None:
            span.set_status(self._api.Status(self._api.StatusCode.ERROR, error))
        span.end(times_ms[1] * _MS)

    def _span(self, name: str, context: "Context", attributes: Attributes, times_ms: tuple[int, int]) -> "Span":
        given = {key: value for key, value in attributes.items() if value is not None}
        kind = self._api.SpanKind.CLIENT
        return self._tracer.start_span(name, context, kind, attributes=given, start_time=times_ms[0] * _MS)

    def _context(self, trace: int, span: int) -> "Context":
        """What a span is started in: below that span, sampled as that one was; below none where they are 0."""
        api = self._api
        decision = self.provider.sampler.should_sample(None, trace, "look").decision
        sampled = bool(span) and decision is self._sampled
        flags = api.TraceFlags(api.TraceFlags.SAMPLED if sampled else api.TraceFlags.DEFAULT)
        parent = api.SpanContext(trace, span, is_remote=True, trace_flags=flags)
        context: Context = api.set_span_in_context(api.NonRecordingSpan(parent), self._empty)
        return context


_on: _Tracing | None = None
