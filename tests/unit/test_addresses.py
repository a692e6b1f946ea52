"""Which addresses may be called."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.addresses import (
    NOWHERE,
    Allowed,
    Networks,
    Refused,
    Why,
    check_address,
    check_answers,
    parse_networks,
    unwrap,
)

PUBLIC = ["8.8.8.8", "1.1.1.1", "93.184.216.34", "100.63.255.255", "100.128.0.1", "172.15.255.255", "172.32.0.1",
          "192.0.1.1", "198.17.255.255", "198.20.0.1", "223.255.255.255", "2606:4700:4700::1111", "2a00:1450:4001::1",
          "2001:4860:4860::8888", "2001:200::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]  # fmt: skip

SPECIAL = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.254",
    "168.63.129.16", "169.254.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.0.192",
    "192.0.2.1", "192.88.99.3", "192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1",
    "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::7f00:1", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::8.8.8.8", "100::1", "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1", "2002:7f00:1::",
    "2002:808:808::", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
    "4000::1", "8000::1", "1::1",
]  # fmt: skip


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_may_be_called(text: str) -> None:
    assert check_address(ip_address(text), allow=NOWHERE) == Allowed(listed=False)


@pytest.mark.parametrize("text", SPECIAL)
def test_all_others_are_refused_with_what_they_are(text: str) -> None:
    refused = check_address(ip_address(text), allow=NOWHERE)
    assert isinstance(refused, Refused)
    assert refused.code is Why.ADDRESS_NOT_ALLOWED
    assert refused.reason.startswith("the address is ")
    assert text not in refused.reason or text == "::1"


@pytest.mark.parametrize(
    ("text", "listed"),
    [
        ("127.0.0.1", "127.0.0.1/32"),
        ("10.1.2.3", "10.0.0.0/8"),
        ("169.254.169.254", "169.254.169.254/32"),
        ("::1", "::1/128"),
        ("fd00::2", "fd00::/8"),
        ("::ffff:10.0.0.1", "10.0.0.0/8"),
        ("64:ff9b::10.0.0.1", "10.0.0.0/8"),
        ("2002:808:808::", "2002::/16"),
        ("8.8.8.8", "8.8.8.0/24"),
        ("0.1.2.3", "0.0.0.0/8"),
        ("100.64.1.2", "100.64.0.0/10"),
        ("168.63.129.16", "168.63.129.16/32"),
        ("172.16.1.2", "172.16.0.0/12"),
        ("192.0.0.8", "192.0.0.0/24"),
        ("192.0.2.1", "192.0.2.0/24"),
        ("192.88.99.1", "192.88.99.0/24"),
        ("192.168.1.2", "192.168.0.0/16"),
        ("198.18.0.1", "198.18.0.0/15"),
        ("198.51.100.1", "198.51.100.0/24"),
        ("203.0.113.1", "203.0.113.0/24"),
        ("240.0.0.1", "240.0.0.0/4"),
        ("2001:db8::1", "2001:db8::/32"),
        ("::ffff:8.8.8.8", "::ffff:0:0/96"),
    ],
)
def test_the_operators_networks_may_be_called_all_the_same(text: str, listed: str) -> None:
    assert check_address(ip_address(text), allow=parse_networks(listed)) == Allowed(listed=True)


@pytest.mark.parametrize("text", ["0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1", "::ffff:0.0.0.0"])
def test_what_no_packet_can_be_meant_for_is_refused_even_if_listed(text: str) -> None:
    assert isinstance(check_address(ip_address(text), allow=parse_networks("0.0.0.0/0,::/0")), Refused)


def test_a_listed_network_opens_nothing_beside_it() -> None:
    allow = parse_networks("10.1.0.0/16")
    for text in ("10.2.0.1", "::ffff:10.2.0.1", "64:ff9b::10.2.0.1", "127.0.0.1", "2002:a01:1::"):
        assert isinstance(check_address(ip_address(text), allow=allow), Refused)


@given(st.ip_addresses(v=4))
def test_no_spelling_in_ipv6_reaches_more_than_the_ipv4_address_itself(address: IPv4Address) -> None:
    plain = check_address(address, allow=NOWHERE)
    for prefix in ("::ffff:", "64:ff9b::", "::", "64:ff9b:1::"):
        wrapped = check_address(IPv6Address(f"{prefix}{address}"), allow=NOWHERE)
        assert isinstance(wrapped, Refused) or wrapped == plain
    assert isinstance(check_address(IPv6Address((0x2002 << 112) | (int(address) << 80)), allow=NOWHERE), Refused)


@given(st.ip_addresses())
def test_nothing_is_allowed_that_python_calls_special(address: IPv4Address | IPv6Address) -> None:
    if check_address(address, allow=NOWHERE) == Allowed(listed=False):
        inner = unwrap(address)
        assert inner.is_global
        marks = ("is_private", "is_loopback", "is_link_local", "is_multicast", "is_reserved", "is_unspecified")
        assert [mark for mark in marks if getattr(inner, mark)] == []
        assert inner.version == 4 or inner in ip_network("2000::/3")


def test_one_bad_answer_refuses_the_name() -> None:
    good, bad = ip_address("8.8.8.8"), ip_address("127.0.0.1")
    assert check_answers([good, good], allow=NOWHERE, listed_only=False) is None
    for answers in ([good, bad], [bad, good]):
        refused = check_answers(answers, allow=NOWHERE, listed_only=False)
        assert refused is not None
        assert "loopback" in refused.reason


def test_where_only_listed_addresses_will_do_a_public_one_is_refused() -> None:
    allow = parse_networks("127.0.0.1/32")
    assert check_answers([ip_address("127.0.0.1")], allow=allow, listed_only=True) is None
    refused = check_answers([ip_address("127.0.0.1"), ip_address("8.8.8.8")], allow=allow, listed_only=True)
    assert refused is not None
    assert refused.code is Why.ADDRESS_NOT_ALLOWED
    assert "RELAY_ALLOW_NETWORKS" in refused.reason


def test_networks_are_read_from_a_list() -> None:
    networks = parse_networks(" 10.0.0.0/8, 127.0.0.1 ,fd00::/8,")
    assert str(networks) == "10.0.0.0/8,127.0.0.1/32,fd00::/8"
    assert ip_address("10.9.8.7") in networks
    assert ip_address("11.0.0.0") not in networks
    assert ip_address("fd12::1") in networks


@pytest.mark.parametrize("text", ["", " ", ",", " , "])
def test_no_networks_is_nowhere(text: str) -> None:
    assert parse_networks(text) == NOWHERE
    assert not NOWHERE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10.0.0.1/8", r"'10\.0\.0\.1/8' has bits set behind its mask: write 10\.0\.0\.0/8"),
        ("fd00::1/8", r"write fd00::/8"),
        ("10.0.0.0/33", r"'10\.0\.0\.0/33' is not a network"),
        ("10.0.0.0/-1", "is not a network"),
        ("10.0.0/8", "is not a network"),
        ("127.1", "is not a network"),
        ("localhost", "is not a network"),
        ("10.0.0.0/8;127.0.0.1", "is not a network"),
        ("10.0.0.0/8 127.0.0.1", "is not a network"),
        ("10.0.0.0/8,nonsense", "'nonsense' is not a network"),
        ("fe80::%eth0/10", "is not a network"),
    ],
)
def test_a_wrong_network_is_refused_with_the_right_one(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_networks(text)


def test_networks_that_take_in_everything_can_be_warned_of() -> None:
    assert parse_networks("10.0.0.0/8,0.0.0.0/0,::/0").unbounded == (ip_network("0.0.0.0/0"), ip_network("::/0"))
    assert Networks().unbounded == ()
