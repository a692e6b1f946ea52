import io
import json
import logging
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from relay import logs
from relay.core.errors import StoreAwayError


@pytest.fixture(autouse=True)
def _unconfigured_afterwards() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = [*root.handlers], root.level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)


def _line(**fields: Any) -> dict[str, Any]:
    return _lines_of(lambda: logs.event("poll", **fields))[0]


def _lines_of(act: Any, **always: Any) -> list[dict[str, Any]]:
    stream = io.StringIO()
    logs.configure("json", stream=stream, **always)
    act()
    logs.flush()
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_holds_what_happened_when_and_how_bad_it_is() -> None:
    line = _line(level="warning", brand="openapitest", duration_ms=12.5, venues=[1, 2], cached=False)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "poll",
        "level": "warning",
        "brand": "openapitest",
        "duration_ms": 12.5,
        "venues": [1, 2],
        "cached": False,
    }


def test_every_line_of_a_process_says_which_process() -> None:
    lines = _lines_of(lambda: logs.event("poll"), process="worker-poll-1")
    assert lines[0]["process"] == "worker-poll-1"


@pytest.mark.parametrize(
    "key", ["secret", "client_secret", "x_token", "Authorization", "phone", "customer", "address", "password"]
)
def test_fields_named_after_secrets_and_personal_data_are_hidden(key: str) -> None:
    assert _line(**{key: "+994705401040"})[key] == "[redacted]"
    assert _line(order={key: {"name": "A"}})["order"][key] == "[redacted]"


def test_fields_about_a_secret_are_shown() -> None:
    line = _line(token_expires_at="2026-02-02T13:46:05Z", secrets=2)
    assert (line["token_expires_at"], line["secrets"]) == ("2026-02-02T13:46:05Z", 2)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://user:hunter2@host:6379/0", "redis://***@host:6379/0"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw is known", "whsec_*** is known"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
    ],
)
def test_secrets_inside_a_text_are_hidden(text: str, shown: str) -> None:
    assert _line(reason=text)["reason"] == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", "a\\nb"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202eevil", "\\u202eevil"),
        ("half \ud83d", "half \\ud83d"),
        ("Bak\u0131 ☕", "Bak\u0131 ☕"),
    ],
)
def test_what_could_forge_or_turn_a_line_is_escaped(text: str, shown: str) -> None:
    assert _line(reason=text)["reason"] == shown
    assert _line(detail={text: 1})["detail"] == {shown: 1}


def test_a_long_text_is_cut() -> None:
    assert len(_line(reason="x" * 1_000_000)["reason"]) == 2_001


def test_an_exception_is_its_class_and_where_it_came_through_without_its_message() -> None:
    def act() -> None:
        try:
            int("+994 70 540 10 40")
        except ValueError as wrong:
            logs.event("row set aside", level="error", exc=wrong)

    line = _lines_of(act)[0]
    assert line["error_class"] == "ValueError"
    assert line["at"][-1].startswith("test_logs.py:")
    assert "994" not in json.dumps(line)


def test_an_error_of_ours_says_its_reason_and_what_to_do() -> None:
    line = _line(exc=StoreAwayError("Redis does not answer.", reason="away"))
    assert (line["error_class"], line["reason"], line["message"]) == (
        "StoreAwayError",
        "away",
        "Redis does not answer.",
    )


def test_what_a_library_logs_becomes_one_line() -> None:
    lines = _lines_of(lambda: logging.getLogger("asyncio").error("Task exception\nfuture: <Task phone=1>"))
    assert lines[0]["logger"] == "asyncio"
    assert lines[0]["message"] == "Task exception"


def test_on_a_console_a_line_is_readable_and_still_one_line() -> None:
    stream = io.StringIO()
    logs.configure("console", stream=stream)
    logs.event("poll", brand="open\napitest")
    logs.flush()
    assert stream.getvalue().count("\n") == 1
    assert "poll" in stream.getvalue()
    assert "open\\napitest" in stream.getvalue()


def test_json_holds_every_line_and_a_console_what_people_need() -> None:
    def act() -> None:
        logs.event("attempt", level="debug", status_class="2xx")

    assert [line["event"] for line in _lines_of(act)] == ["attempt"]
    stream = io.StringIO()
    logs.configure("console", stream=stream)
    act()
    logs.flush()
    assert stream.getvalue() == ""


def test_lines_about_something_carry_its_id_until_it_is_over() -> None:
    def act() -> None:
        with logs.about(request="0123"):
            logs.event("ignore", brand="openapitest")
        logs.event("poll")

    lines = _lines_of(act, role="api")
    assert [line.get("request") for line in lines] == ["0123", None]
    assert {line["role"] for line in lines} == {"api"}


def test_a_reader_that_stops_reading_stops_nobody_and_is_told_what_it_missed() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading) as reader, os.fdopen(writing, "w") as stream:
        logs.configure("json", stream=stream)
        count = 3 * logs.LINES_HELD  # far more than a pipe holds
        for number in range(count):
            logs.event("delivery attempt", number=number)
        logs.flush(0.0)
        received: list[dict[str, Any]] = []
        done = threading.Event()

        def read() -> None:
            while not done.is_set():
                received.append(json.loads(reader.readline()))
                if received[-1]["event"] == "log lines dropped":
                    done.set()

        threading.Thread(target=read, daemon=True).start()
        assert done.wait(20)
        dropped = received[-1]["count"]
        assert dropped > 0
        assert len(received) - 1 + dropped <= count


def test_nothing_is_written_before_the_process_said_how(capsys: pytest.CaptureFixture[str]) -> None:
    structlog.reset_defaults()
    logs.event("poll", brand="openapitest")
    assert capsys.readouterr() == ("", "")
