"""Which addresses may be called? Public ones, and those the operator lists; all others are refused with a reason.

``ipaddress.is_global`` alone does not decide: it calls public what leads inward (``::127.0.0.1``, 6to4, NAT64,
multicast and more, differing between Python versions). So an address must pass the table here *and* ``is_global``, and
an IPv4 address inside an IPv6 one is taken out and judged as what it is.

Source: IANA's registries of special-purpose addresses for IPv4 and IPv6 (RFC 6890 and its updates).
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network


class Why(StrEnum):
    """The machine-readable half of a refusal."""

    EMPTY = "empty"
    TOO_LONG = "too_long"
    CHARACTERS = "characters"
    SCHEME = "scheme"
    USERINFO = "userinfo"
    FRAGMENT = "fragment"
    PORT = "port"
    HOST = "host"
    ADDRESS_SPELLING = "address_spelling"
    ADDRESS_NOT_ALLOWED = "address_not_allowed"
    NAME_NOT_ALLOWED = "name_not_allowed"
    HEADER_NAME = "header_name"
    HEADER_RESERVED = "header_reserved"
    HEADER_VALUE = "header_value"
    HEADER_COUNT = "header_count"
    HEADER_DUPLICATE = "header_duplicate"


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal.

    Attributes:
        code: for programs.
        reason: a sentence for people, ready to show; never repeats what was submitted.
    """

    code: Why
    reason: str


@dataclass(frozen=True, slots=True)
class Allowed:
    """A permission.

    Attributes:
        listed: the address is in the operator's networks; plain ``http`` is accepted only then.
    """

    listed: bool


@dataclass(frozen=True, slots=True)
class Networks:
    """The operator's networks (``RELAY_ALLOW_NETWORKS``): not public, and to be called all the same."""

    networks: tuple[Network, ...] = ()

    def __contains__(self, address: Address) -> bool:
        return any(address in network for network in self.networks)

    def __bool__(self) -> bool:
        return bool(self.networks)

    def __str__(self) -> str:
        return ",".join(str(network) for network in self.networks)

    @property
    def unbounded(self) -> tuple[Network, ...]:
        """Those that take in every address of their kind; worth a warning at start."""
        return tuple(network for network in self.networks if network.prefixlen == 0)


NOWHERE: Final = Networks()
"""No networks: only public addresses may be called."""


def parse_networks(text: str) -> Networks:
    """Read the operator's networks.

    Args:
        text: CIDRs or single addresses separated by commas; empty for none.

    Raises:
        ValueError: one of them is no network, has a mask out of range, or has bits set behind its mask. The message
            names the entry and what it should be.
    """
    networks: list[Network] = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        try:
            networks.append(_network(entry, strict=True))
        except ValueError:
            raise ValueError(_wrong_network(entry)) from None
    return Networks(tuple(networks))


def _network(entry: str, *, strict: bool) -> Network:
    if "%" in entry:
        raise ValueError("a network interface is no part of a network")
    return ipaddress.ip_network(entry, strict=strict)


def _wrong_network(entry: str) -> str:
    try:
        return f"{entry!r} has bits set behind its mask: write {_network(entry, strict=False)}"
    except ValueError:
        return f"{entry!r} is not a network: write it like 10.0.0.0/8, 127.0.0.1/32 or fd00::/8"


def check_address(address: Address, *, allow: Networks) -> Allowed | Refused:
    """Decide whether an address may be called.

    Args:
        address: as resolved or written.
        allow: the operator's networks.
    """
    inner = unwrap(address)
    special = _special(inner)
    if special is not None and special.never:
        return _refusal(special)
    if inner in allow or address in allow:
        return Allowed(listed=True)
    if special is not None:
        return _refusal(special)
    if not inner.is_global:
        return _refusal(_NOT_GLOBAL)
    return Allowed(listed=False)


def check_answers(addresses: Iterable[Address], *, allow: Networks, listed_only: bool) -> Refused | None:
    """Decide whether a name may be called, by all that it resolves to.

    Args:
        addresses: every answer of the resolver.
        allow: the operator's networks.
        listed_only: whether each must be in ``allow``, as for plain ``http`` and for names of a private network.

    Returns:
        The first refusal, None if every address is allowed. One bad answer refuses the name: the
        partner cannot choose which one is connected to.
    """
    for address in addresses:
        verdict = check_address(address, allow=allow)
        if isinstance(verdict, Refused):
            return verdict
        if listed_only and not verdict.listed:
            return UNLISTED
    return None


UNLISTED: Final = Refused(
    Why.ADDRESS_NOT_ALLOWED,
    "the address is not in RELAY_ALLOW_NETWORKS: plain http and private names are accepted only there",
)


def unwrap(address: Address) -> Address:
    """Take an IPv4 address out of an IPv6 one where the packets would go to the former: mapped and NAT64."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


@dataclass(frozen=True, slots=True)
class _Special:
    network: Network
    name: str
    never: bool = False


def _special(address: Address) -> _Special | None:
    table = _SPECIAL_V4 if isinstance(address, IPv4Address) else _SPECIAL_V6
    return next((special for special in table if address in special.network), None)


def _refusal(special: _Special) -> Refused:
    return Refused(
        Why.ADDRESS_NOT_ALLOWED,
        f"the address is {special.name}: only public addresses"
        + (" may be called" if special.never else ", or those in RELAY_ALLOW_NETWORKS, may be called"),
    )


_NAT64: Final = IPv6Network("64:ff9b::/96")

_NOT_GLOBAL: Final = _Special(IPv4Network("0.0.0.0/0"), "not public")

_SPECIAL_V4: Final = tuple(
    _Special(IPv4Network(network), name, never)
    for network, name, never in (
        ("0.0.0.0/32", "unspecified", True),
        ("0.0.0.0/8", "of this network itself (0.0.0.0/8)", False),
        ("10.0.0.0/8", "private (10.0.0.0/8)", False),
        ("100.64.0.0/10", "shared between carriers (100.64.0.0/10)", False),
        ("127.0.0.0/8", "loopback (127.0.0.0/8)", False),
        ("168.63.129.16/32", "of a cloud platform's own service", False),
        ("169.254.0.0/16", "link-local, where cloud metadata live (169.254.0.0/16)", False),
        ("172.16.0.0/12", "private (172.16.0.0/12)", False),
        ("192.0.0.0/24", "reserved for protocols (192.0.0.0/24)", False),
        ("192.0.2.0/24", "for documentation (192.0.2.0/24)", False),
        ("192.88.99.0/24", "a 6to4 relay (192.88.99.0/24)", False),
        ("192.168.0.0/16", "private (192.168.0.0/16)", False),
        ("198.18.0.0/15", "for benchmarks (198.18.0.0/15)", False),
        ("198.51.100.0/24", "for documentation (198.51.100.0/24)", False),
        ("203.0.113.0/24", "for documentation (203.0.113.0/24)", False),
        ("224.0.0.0/4", "multicast", True),
        ("255.255.255.255/32", "broadcast", True),
        ("240.0.0.0/4", "reserved (240.0.0.0/4)", False),
    )
)

_SPECIAL_V6: Final = tuple(
    _Special(IPv6Network(network), name, never)
    for network, name, never in (
        ("::/128", "unspecified", True),
        ("::1/128", "loopback (::1)", False),
        ("::/96", "an IPv4 address in an obsolete form (::/96)", False),
        ("64:ff9b:1::/48", "a private NAT64 prefix (64:ff9b:1::/48)", False),
        ("100::/64", "a discard prefix (100::/64)", False),
        ("2001::/32", "Teredo (2001::/32)", False),
        ("2001::/23", "reserved for protocols (2001::/23)", False),
        ("2001:db8::/32", "for documentation (2001:db8::/32)", False),
        ("2002::/16", "6to4 (2002::/16)", False),
        ("3fff::/20", "for documentation (3fff::/20)", False),
        ("5f00::/16", "for segment routing (5f00::/16)", False),
        ("fc00::/7", "private (fc00::/7)", False),
        ("fe80::/10", "link-local (fe80::/10)", False),
        ("fec0::/10", "site-local (fec0::/10)", False),
        ("ff00::/8", "multicast", True),
        # All that remains outside global unicast; keep these last.
        ("::/3", "not global unicast", False),
        ("4000::/2", "not global unicast", False),
        ("8000::/1", "not global unicast", False),
    )
)
