"""What may a subscription point at? An https URL of a public host, plainly written, or anything in the listed networks.

A URL is taken apart once, here, by rules stricter than any client's; what comes out is a normalized text that the
sender uses as it is. Before it is handed out, the sender's own parser (yarl, which is aiohttp's) must see the same host
and port in it.
"""

import re
import unicodedata
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, NoReturn
from urllib.parse import quote

import idna
from yarl import URL

from relay.core.addresses import (
    NOWHERE,
    Address,
    Allowed,
    Networks,
    Refused,
    Why,
    check_address,
    check_answers,
    parse_networks,
)
from relay.core.headers import check_header, check_headers

__all__ = [
    "NOWHERE",
    "Address",
    "Allowed",
    "CheckedUrl",
    "Networks",
    "Refused",
    "Why",
    "check_address",
    "check_answers",
    "check_header",
    "check_headers",
    "check_url",
    "parse_networks",
]

MAX_URL_CHARS: Final = 8_192
MAX_NAME_CHARS: Final = 253
MAX_LABEL_CHARS: Final = 63
MAX_PORT: Final = 65_535

DEFAULT_PORTS: Final = {"https": 443, "http": 80}

PRIVATE_SUFFIXES: Final = (
    "localhost", "localdomain", "local", "internal", "svc", "lan", "home", "home.arpa", "corp", "intranet", "private",
)  # fmt: skip
"""Names that lead into a private network, with all below them; as does every name of a single label."""

_SHAPE: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^#]*)(#.*)?", re.DOTALL)
_PORT: Final = re.compile(r"[0-9]{1,5}", re.ASCII)
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_DOT_LOOKALIKES: Final = frozenset("\u3002\uff0e\uff61\u2024\ufe52")
_PATH_SAFE: Final = "!$%&'()*+,-./:;=?@_~[]"


@dataclass(frozen=True, slots=True)
class CheckedUrl:
    """A URL that may be called, as far as can be told without resolving its name.

    Attributes:
        url: the normalized text: what is stored, shown and requested.
        scheme: ``https`` or ``http``.
        host: in lower case and punycode, without brackets or trailing dot: for DNS, TLS and ``Host``.
        port: the port to connect to, 1 to 65535.
        address: the host if it is an address, already allowed; None if it is a name.
        listed_only: every address the name resolves to must be in the operator's networks: it is plain ``http``, or a
            name of a private network. Checked again at each connection.
    """

    url: str
    scheme: str
    host: str
    port: int
    address: Address | None
    listed_only: bool

    @property
    def needs_resolution(self) -> bool:
        """Whether it may be registered only if it resolves, now, into the operator's networks (``check_answers``)."""
        return self.listed_only and self.address is None


class _Refusal(Exception):  # noqa: N818 - carries a verdict inside this module only
    def __init__(self, code: Why, reason: str) -> None:
        super().__init__(reason)
        self.verdict = Refused(code, reason)


def check_url(url: str, *, allow: Networks) -> CheckedUrl | Refused:
    """Decide whether a subscription may point at a URL.

    Args:
        url: as submitted.
        allow: the operator's networks.

    Returns:
        The URL in normalized form, or why not. ``check_url`` of a normalized URL returns it unchanged. The reason never
        repeats the URL, which may hold a credential.
    """
    try:
        return _checked(url, allow)
    except _Refusal as refusal:
        return refusal.verdict


def _checked(url: str, allow: Networks) -> CheckedUrl:
    _check_characters(url)
    found = _SHAPE.fullmatch(url)
    if found is None:
        _refuse(Why.SCHEME, "a URL begins with https:// and a host")
    scheme, authority, rest = found[1].lower(), found[2], found[3]
    if scheme not in DEFAULT_PORTS:
        _refuse(Why.SCHEME, "the scheme must be https")
    if "@" in authority:
        _refuse(Why.USERINFO, "a URL may not hold a user name or password: use headers instead")
    if found[4] is not None:
        _refuse(Why.FRAGMENT, "a URL may not have a fragment (#): it would never be sent")
    host, port_text = _split_authority(authority)
    address = _address(host)
    name = "" if address is not None else _name(host.strip("[]"))
    port = _port(port_text, scheme)

    listed_only = _check_address(address, scheme, allow) if address is not None else _check_name(name, scheme, allow)

    plain_host = name if address is None else address.compressed
    shown_host = f"[{plain_host}]" if isinstance(address, IPv6Address) else plain_host
    shown_port = "" if port == DEFAULT_PORTS[scheme] else f":{port}"
    rest = rest if rest.startswith("/") else "/" + rest
    rest = rest[:-1] if rest.find("?") == len(rest) - 1 else rest  # an empty query is none
    text = f"{scheme}://{shown_host}{shown_port}{quote(rest, safe=_PATH_SAFE)}"
    if len(text) > MAX_URL_CHARS:
        _refuse(Why.TOO_LONG, f"a URL may have at most {MAX_URL_CHARS} characters")
    _check_seen_alike(text, host=plain_host, port=port)
    return CheckedUrl(url=text, scheme=scheme, host=plain_host, port=port, address=address, listed_only=listed_only)


def _check_address(address: Address, scheme: str, allow: Networks) -> bool:
    """Return whether only listed addresses will do."""
    verdict = check_address(address, allow=allow)
    if isinstance(verdict, Refused):
        _refuse(verdict.code, verdict.reason)
    if scheme == "http" and not verdict.listed:
        _refuse(Why.SCHEME, "plain http is accepted only to RELAY_ALLOW_NETWORKS: use https")
    return scheme == "http"


def _check_name(name: str, scheme: str, allow: Networks) -> bool:
    """Return whether it must resolve to listed addresses only."""
    if scheme == "http" and not allow:
        _refuse(Why.SCHEME, "the scheme must be https")
    private = "." not in name or any(name == suffix or name.endswith(f".{suffix}") for suffix in PRIVATE_SUFFIXES)
    if private and not allow:
        _refuse(Why.NAME_NOT_ALLOWED, "the host is a name of a private network: only public hosts may be called")
    return private or scheme == "http"


def _refuse(code: Why, reason: str) -> NoReturn:
    raise _Refusal(code, reason)


def _check_characters(url: str) -> None:
    if not url:
        _refuse(Why.EMPTY, "a URL is needed")
    if len(url) > MAX_URL_CHARS:
        _refuse(Why.TOO_LONG, f"a URL may have at most {MAX_URL_CHARS} characters")
    if url.isascii():
        wrong = "\\" in url or " " in url or not url.isprintable()
    else:
        # Categories C and Z: controls, invisible format characters, surrogates, unassigned; spaces of any kind.
        wrong = "\\" in url or any(unicodedata.category(character)[0] in "CZ" for character in url)
    if wrong:
        _refuse(Why.CHARACTERS, "a URL may not contain spaces, backslashes, control or invisible characters")


def _split_authority(authority: str) -> tuple[str, str | None]:
    if authority.startswith("["):
        host, bracket, after = authority.partition("]")
        if not bracket or (after and not after.startswith(":")):
            _refuse(Why.HOST, "an IPv6 address is written in brackets, such as https://[2001:4860:4860::8888]/")
        return host + bracket, after[1:] if after else None
    host, colon, port_text = authority.partition(":")
    if not host:
        _refuse(Why.HOST, "a URL needs a host")
    return host, port_text if colon else None


def _port(text: str | None, scheme: str) -> int:
    if text is None:
        return DEFAULT_PORTS[scheme]
    port = int(text) if _PORT.fullmatch(text) else 0
    if not 1 <= port <= MAX_PORT:
        _refuse(Why.PORT, f"a port is a number from 1 to {MAX_PORT}")
    return port


def _address(host: str) -> Address | None:
    if host.startswith("["):
        if "%" in host:
            _refuse(Why.ADDRESS_NOT_ALLOWED, "an address may not name a network interface (%)")
        try:
            return IPv6Address(host[1:-1])
        except AddressValueError:
            _refuse(Why.HOST, "what stands in brackets is not an IPv6 address")
    plain = unicodedata.normalize("NFKC", "".join("." if c in _DOT_LOOKALIKES else c for c in host)).lower()
    if _NUMBER.fullmatch(plain.rstrip(".").rpartition(".")[2]) is None:
        return None
    # Ends in a number: an IPv4 address to every resolver and browser, in whatever spelling.
    try:
        return IPv4Address(host)
    except AddressValueError:
        _refuse(Why.ADDRESS_SPELLING, "an IPv4 address is written as four decimal numbers without leading zeros")


def _name(host: str) -> str:
    if any(character in host for character in "%[]"):
        _refuse(Why.HOST, "a host may not contain percent signs or brackets")
    host = host.removesuffix(".").lower()
    if not host.isascii():
        host = _punycode(host)
    if len(host) > MAX_NAME_CHARS:
        _refuse(Why.HOST, f"a host name has at most {MAX_NAME_CHARS} characters")
    for label in host.split("."):
        if len(label) > MAX_LABEL_CHARS or _LABEL.fullmatch(label) is None:
            _refuse(Why.HOST, "a host name is made of labels of 1 to 63 letters, digits and hyphens, separated by dots")
        if label.startswith("xn--"):
            _check_punycode(label)
    return host


def _punycode(host: str) -> str:
    host = unicodedata.normalize("NFC", host)
    if unicodedata.normalize("NFKC", host) != host or _DOT_LOOKALIKES & set(host):
        _refuse(Why.HOST, "the host contains look-alikes of plain characters: write it plainly")
    try:
        return idna.encode(host, uts46=True, std3_rules=True).decode("ascii")
    except UnicodeError:
        _refuse(Why.HOST, "the host is not a valid international domain name")


def _check_punycode(label: str) -> None:
    try:
        same = idna.alabel(idna.ulabel(label)).decode("ascii") == label
    except (UnicodeError, IndexError):
        same = False
    if not same:
        _refuse(Why.HOST, "the host contains a malformed xn-- label")


def _check_seen_alike(text: str, *, host: str, port: int) -> None:
    try:
        seen = URL(text, encoded=True)
        alike = (seen.raw_host, seen.port, seen.raw_user, seen.raw_fragment, str(seen)) == (host, port, None, "", text)
    except ValueError:
        alike = False
    if not alike:
        _refuse(Why.HOST, "the URL could be read in two ways: write it plainly")
