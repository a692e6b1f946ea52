"""Which headers a subscription may add."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.addresses import Why
from relay.core.headers import MAX_HEADERS, MAX_VALUE_BYTES, check_header, check_headers


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Authorization", "Bearer abc.def"),
        ("X-Api-Key", "k"),
        ("x-tenant", "Café"),
        ("x-empty", ""),
        ("x-tab", "a\tb"),
        ("x-long", "v" * MAX_VALUE_BYTES),
        ("webhookish", "v"),
        ("n" * 128, "v"),
    ],
)
def test_ordinary_headers_may_be_sent(name: str, value: str) -> None:
    assert check_header(name, value) is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "x y",
        "x:",
        "x\r",
        "x\n",
        "x\r\nevil: 1",
        "x\x00",
        "ü",
        "x-ü",
        "n" * 129,
        "n" * 300,
        "x/y",
        "(x)",
        "x\x7f",
        "x ",
    ],
)
def test_a_name_that_is_no_token_is_refused(name: str) -> None:
    refused = check_header(name, "v")
    assert refused is not None
    assert refused.code is Why.HEADER_NAME


@pytest.mark.parametrize(
    "name",
    ["Host", "Content-Length", "Content-Type", "Content-Encoding", "Transfer-Encoding", "Connection", "Keep-Alive",
     "TE",
     "Trailer", "Upgrade", "Proxy-Authorization", "proxy-connection", "webhook-id", "Webhook-Signature",
     "webhook-anything", "relay-attempt", "User-Agent", "Cookie", "Set-Cookie", "X-Forwarded-For",
     "x-forwarded-anything",
     "Forwarded", "Via", "Expect", "Accept-Encoding", "HOST", "hOsT", "Sec-Fetch-Site"],
)  # fmt: skip
def test_a_name_that_is_not_a_subscriptions_is_refused_in_any_case(name: str) -> None:
    refused = check_header(name, "v")
    assert refused is not None
    assert refused.code is Why.HEADER_RESERVED


@pytest.mark.parametrize(
    "value",
    ["a\r\nevil: 1", "a\n", "a\nb", "a\rb", "\x00", "\x01", "\x7f", "\x85", " a", "a ", "\ta", "a\t", "\t", " ", "Ł",
     "日本", "\ud800",
     "v" * (MAX_VALUE_BYTES + 1), "é" * (MAX_VALUE_BYTES // 2 + 1)],
)  # fmt: skip
def test_a_value_that_could_not_be_sent_as_it_is_is_refused(value: str) -> None:
    refused = check_header("x-key", value)
    assert refused is not None
    assert refused.code is Why.HEADER_VALUE


def test_a_refusal_repeats_neither_name_nor_value() -> None:
    for name, value in (("hunter2 ", "v"), ("x-key", "hunter2\n")):
        refused = check_header(name, value)
        assert refused is not None
        assert "hunter2" not in refused.reason


def test_all_faults_of_a_list_are_named_at_once() -> None:
    refused = check_headers([("x-a", "1"), ("Host", "h"), ("X-A", "2"), ("x-b", "\n")])
    assert {position: refusal.code for position, refusal in refused.items()} == {
        1: Why.HEADER_RESERVED,
        2: Why.HEADER_DUPLICATE,
        3: Why.HEADER_VALUE,
    }


def test_the_header_past_the_limit_is_refused() -> None:
    assert check_headers((f"x-{number}", "v") for number in range(MAX_HEADERS)) == {}
    refused = check_headers((f"x-{number}", "v") for number in range(MAX_HEADERS + 5))
    assert {position: refusal.code for position, refusal in refused.items()} == {MAX_HEADERS: Why.HEADER_COUNT}


@given(st.text(), st.text())
def test_what_is_allowed_is_one_line_on_the_wire(name: str, value: str) -> None:
    if check_header(name, value) is None:
        wire = f"{name}: {value}".encode()
        assert len(wire.splitlines()) == 1
        assert name.isascii()
