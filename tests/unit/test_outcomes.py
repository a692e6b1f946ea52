"""What the end of an attempt means."""

import pytest

from relay.core.outcomes import FAILURES, Failure, StatusClass, classify


@pytest.mark.parametrize("status_code", [200, 201, 202, 204, 206, 226, 299])
def test_every_2xx_is_a_success(status_code: int) -> None:
    outcome = classify(status_code)
    assert outcome.success
    assert outcome.status_class is StatusClass.SUCCESS


@pytest.mark.parametrize(
    ("status_code", "status_class"),
    [
        (301, "3xx"), (302, "3xx"), (304, "3xx"), (307, "3xx"), (308, "3xx"),
        (400, "4xx"), (401, "4xx"), (404, "4xx"), (410, "4xx"), (429, "4xx"), (499, "4xx"),
        (500, "5xx"), (502, "5xx"), (503, "5xx"), (504, "5xx"), (599, "5xx"),
    ],
)  # fmt: skip
def test_nothing_else_is(status_code: int, status_class: str) -> None:
    outcome = classify(status_code)
    assert not outcome.success
    assert outcome.status_class == status_class
    assert not outcome.ours


def test_codes_beyond_599_count_as_5xx() -> None:
    assert {classify(code).status_class for code in (600, 999)} == {StatusClass.SERVER_ERROR}


def test_an_unasked_switch_of_protocols_is_a_network_failure() -> None:
    assert classify(101).status_class is StatusClass.NETWORK


def test_410_alone_is_gone() -> None:
    assert classify(410).gone
    assert not classify(404).gone


def test_429_throttles_the_lane_with_or_without_a_time() -> None:
    assert classify(429).throttled
    assert classify(429).congested
    assert classify(429, retry_after_s=120.0).retry_after_s == 120


def test_503_throttles_only_with_a_time() -> None:
    assert not classify(503).throttled
    assert classify(503).congested
    assert classify(503, retry_after_s=120.0).throttled
    assert classify(503, retry_after_s=120.0).retry_after_s == 120


def test_retry_after_means_nothing_elsewhere() -> None:
    assert [classify(code, retry_after_s=120.0).retry_after_s for code in (200, 302, 404, 500, 502)] == [None] * 5


def test_the_status_line_decides_whatever_failed_after_it() -> None:
    assert classify(200, failure=Failure.TIMEOUT).success
    assert classify(500, failure=Failure.RESET).status_class is StatusClass.SERVER_ERROR


def test_every_failure_has_a_meaning() -> None:
    assert set(FAILURES) == set(Failure)
    assert {failure for failure, outcome in FAILURES.items() if outcome.ours} == {Failure.EMFILE, Failure.INTERNAL}
    assert not any(outcome.success or outcome.gone for outcome in FAILURES.values())


def test_a_timeout_a_refusal_and_the_network_are_told_apart() -> None:
    assert classify(None, failure=Failure.TIMEOUT).status_class == "timeout"
    assert classify(None, failure=Failure.BLOCKED).status_class == "refused"
    assert {
        classify(None, failure=failure).status_class
        for failure in (Failure.DNS, Failure.CONNECT, Failure.TLS, Failure.RESET, Failure.PROTOCOL, Failure.EMFILE)
    } == {"network"}


def test_no_status_line_and_no_failure_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="needs its failure"):
        classify(None)
