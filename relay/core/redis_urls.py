"""What does RELAY_REDIS_URL say? One server, by its own URL; or sentinels who know which server is the primary."""

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

SENTINEL: Final = "redis+sentinel"
SENTINEL_PORT: Final = 26379
FORM: Final = "redis+sentinel://[:password@]host:26379,host:26379/NAME/0"

_TRUE: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
_NODE: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:,/\s]+)(?::(?P<port>[0-9]{1,5}))?")
_TLS: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
_REQUIREMENTS: Final = ("none", "optional", "required")
_LARGEST_PORT: Final = 65_535


@dataclass(frozen=True, slots=True)
class Sentinels:
    """What a ``redis+sentinel://`` URL says.

    Attributes:
        nodes: host and port of each sentinel.
        name: under which they know the primary.
        username: of the servers, like ``password``; None where none is needed.
        sentinel_username: of the sentinels themselves, like ``sentinel_password``.
        tls: whether the servers are spoken to over TLS.
        sentinel_tls: whether the sentinels are; as the servers, unless said otherwise.
        tls_options: as redis-py names them: ``ssl_ca_certs`` and its like, for both.
    """

    nodes: tuple[tuple[str, int], ...]
    name: str
    db: int = 0
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    sentinel_username: str | None = field(default=None, repr=False)
    sentinel_password: str | None = field(default=None, repr=False)
    tls: bool = False
    sentinel_tls: bool = False
    tls_options: tuple[tuple[str, str | bool], ...] = ()


def check_redis_url(url: str) -> None:
    """Refuse what is no address of a Redis.

    Raises:
        ValueError: the message follows a name ("RELAY_REDIS_URL is not …") and never holds the password.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port if parts.scheme != SENTINEL else None  # which names several hosts
    except ValueError:
        raise ValueError(
            "is not a URL such as redis://host:6379/0; in a password, write / ? # @ : percent-encoded"
        ) from None
    if parts.scheme == "unix":
        if not parts.path.startswith("/"):
            raise ValueError("names no socket: write unix:///path/to/redis.sock")
    elif parts.scheme == SENTINEL:
        parse_sentinels(url)
    elif parts.scheme not in ("redis", "rediss"):
        raise ValueError("does not start with redis://, rediss://, unix:// or redis+sentinel://")
    elif not parts.hostname or not re.fullmatch(r"(/[0-9]{0,4})?", parts.path):
        raise ValueError(f"is not {parts.scheme}://[[user]:password@]host:6379/0")


def parse_sentinels(url: str) -> Sentinels | None:
    """Read a ``redis+sentinel://`` URL; None for another one.

    After a ``?`` may stand: ``ssl=true`` (TLS to servers and sentinels), ``sentinel_ssl`` (where the sentinels differ),
    ``ssl_ca_certs``, ``ssl_certfile``, ``ssl_keyfile`` (files), ``ssl_cert_reqs`` (none, optional, required),
    ``ssl_check_hostname``, ``sentinel_username``, ``sentinel_password``.

    Raises:
        ValueError: it has another form (the message follows a name, and never holds the password).
    """
    scheme, _, rest = url.partition("://")
    if scheme != SENTINEL:
        return None
    address, _, query = rest.partition("?")
    credentials, _, place = address.rpartition("@")
    hosts, _, path = place.partition("/")
    name, _, db = path.partition("/")
    nodes = tuple(_node(text) for text in hosts.split(","))
    if not re.fullmatch(r"[^/\s]+", name) or not re.fullmatch(r"[0-9]{0,4}", db):
        raise ValueError(f"is not {FORM}")
    user, _, password = credentials.partition(":")
    options = _options(query)
    tls = _flag(options.pop("ssl", "no"))
    sentinel_tls = _flag(options.pop("sentinel_ssl", "yes" if tls else "no"))
    return Sentinels(
        nodes=nodes,
        name=unquote(name),
        db=int(db or 0),
        username=unquote(user) or None,
        password=unquote(password) or None,
        sentinel_username=options.pop("sentinel_username", None),
        sentinel_password=options.pop("sentinel_password", None),
        tls=tls,
        sentinel_tls=sentinel_tls,
        tls_options=tuple(
            (key, _flag(value) if key == "ssl_check_hostname" else value) for key, value in options.items()
        ),
    )


def _node(text: str) -> tuple[str, int]:
    found = _NODE.fullmatch(text)
    port = int(found["port"] or SENTINEL_PORT) if found else 0
    if found is None or not 0 < port <= _LARGEST_PORT:
        raise ValueError(f"is not {FORM}")
    return found["host"].strip("[]"), port


def _options(query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in ("ssl", "sentinel_ssl", "sentinel_username", "sentinel_password", *_TLS):
            raise ValueError(f"has an option {name[:40]!r} that redis+sentinel:// does not know")
        if name == "ssl_cert_reqs" and value not in _REQUIREMENTS:
            raise ValueError(f"has an ssl_cert_reqs that is none of {', '.join(_REQUIREMENTS)}")
        options[name] = value
    return options


def _flag(text: str) -> bool:
    if text.lower() not in _TRUE:
        raise ValueError("has an option that should be true or false, and is not")
    return _TRUE[text.lower()]
