from __future__ import annotations

import json
import zlib
from typing import Any

import pytest

from relay.queues import SHIFT
from workers.jobs import Accepted, Refused, examine

JOB = b"0f1e2d3c4b5a69788796"


def stored(content: Any) -> dict[bytes, bytes]:
    return {b"data": zlib.compress(json.dumps(content).encode()), b"status": b"queued"}


def test_a_shift_of_the_queues_kind_may_run() -> None:
    assert examine(JOB, stored([SHIFT, None, ["poll", "slot-1"], {}]), kind="poll") == Accepted("poll", "slot-1")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (["os.system", None, ["true"], {}], "function"),
        (["workers.jobs.shift2", None, ["poll", "slot-1"], {}], "function"),
        (["workers.jobs.bind", None, ["poll", "slot-1"], {}], "function"),
        ([SHIFT, "instance", ["poll", "slot-1"], {}], "arguments"),
        ([SHIFT, None, ["deliver", "slot-1"], {}], "arguments"),
        ([SHIFT, None, ["poll"], {}], "arguments"),
        ([SHIFT, None, ["poll", "slot-1", "more"], {}], "arguments"),
        ([SHIFT, None, ["poll", 1], {}], "arguments"),
        ([SHIFT, None, ["poll", "a slot"], {}], "arguments"),
        ([SHIFT, None, ["poll", "x" * 65], {}], "arguments"),
        ([SHIFT, None, ["poll", "slot-1\n"], {}], "arguments"),
        ([SHIFT], "arguments"),
        ([], "arguments"),
        ({}, "arguments"),
        (None, "arguments"),
        ("text", "arguments"),
    ],
)
def test_anything_else_is_refused_with_a_reason(content: Any, reason: str) -> None:
    assert examine(JOB, stored(content), kind="poll") == Refused(reason)


@pytest.mark.parametrize("job_id", [b"", b"a b", b"../x", b"\xff\xfe", b"x" * 65, b"a:b", b"x\n"])
def test_ids_that_are_no_names_are_refused(job_id: bytes) -> None:
    assert examine(job_id, stored([SHIFT, None, ["poll", "slot-1"], {}]), kind="poll") == Refused("id")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "unreadable"),
        (b"not compressed", "unreadable"),
        (zlib.compress(b"\x80\x05."), "unreadable"),
        (zlib.compress(b"[" * 4_000), "unreadable"),
        (zlib.compress(b"0" * 100_000_000), "oversize"),
    ],
    ids=["nothing", "plain", "pickle", "deep", "bomb"],
)
def test_data_that_cannot_be_read_is_refused(data: bytes, reason: str) -> None:
    assert examine(JOB, {b"data": data}, kind="poll") == Refused(reason)


def test_a_job_that_has_expired_is_told_from_garbage() -> None:
    assert examine(JOB, {}, kind="poll") == Refused("expired")
