"""Which settings are there, and what do they hold? The only reader of the environment."""

import base64
import binascii
import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, get_args

from relay.core.addresses import NOWHERE, Networks, parse_networks
from relay.core.clopos_urls import check_clopos_url, check_http_url
from relay.core.durations import format_duration, parse_duration
from relay.core.redis_urls import check_redis_url
from relay.core.retry import DEFAULT_DELAYS_S, parse_schedule
from relay.logs import LogFormat

DEFAULT_CLOPOS_URL: Final = "https://integrations.clopos.com/open-api/v2"
ALREADY_WARNED: Final = "_RELAY_WARNED"  # set by a supervisor for its children: it has shown what to warn of


class Role(StrEnum):
    """What the process is, which decides what it cannot do without."""

    API = "api"
    SCHEDULER = "scheduler"
    WORKER = "worker"
    UP = "up"
    DEMO = "demo"
    COMMAND = "command"  # one that talks to a running relay, or to Clopos, and goes
    PROBE = "probe"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says, read and checked. Secrets are not in its repr.

    Attributes:
        redis_url: "" where Redis is to be embedded.
        data_dir: for embedded Redis and generated keys; may not exist yet.
        admin_token: "" where one is to be made.
        secret_keys: Fernet keys, the first encrypts; empty where one is to be made.
        retry_schedule: seconds before attempt 2, 3, ….
        log_format: None for console on a terminal, else JSON.
        token: "" for the one in the data directory.
        warnings: sentences to be shown; the settings hold all the same.
    """

    redis_url: str = field(default="", repr=False)
    data_dir: Path = Path("relay-data")
    host: str = "127.0.0.1"
    port: int = 8080
    admin_token: str = field(default="", repr=False)
    secret_keys: tuple[str, ...] = field(default=(), repr=False)
    clopos_url: str = DEFAULT_CLOPOS_URL
    quota_per_minute: int = 300
    poll_interval_s: float = 2.0
    reconcile_interval_s: float = 600.0
    attempt_timeout_s: float = 15.0
    retry_schedule: tuple[float, ...] = DEFAULT_DELAYS_S
    allow_networks: Networks = NOWHERE
    retention_s: float = 7 * 86_400.0
    log_format: LogFormat | None = None
    metrics_token: str | None = field(default=None, repr=False)
    url: str = "http://127.0.0.1:8080"
    token: str = field(default="", repr=False)
    traces: bool = False
    warnings: tuple[str, ...] = ()


class SettingsError(Exception):
    """Settings are wrong or missing.

    Attributes:
        problems: every one of them, a sentence each: the setting, what it holds (never a secret), what it should be.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load_settings(environ: Mapping[str, str], *, role: Role) -> Settings:
    """Read the settings.

    Args:
        environ: the environment; of each name ``NAME_FILE`` may give a file that holds the value instead.
        role: what the process is to be.

    Raises:
        SettingsError: with all that is wrong at once.
    """
    problems: list[str] = []
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        try:
            text = _text(setting.name, environ)
            if text is not None:
                values[setting.attribute] = setting.parse(text)
        except _NotThereError as wrong:
            problems.append(f"{setting.name}{wrong}")
        except ValueError as wrong:
            problems.append(f"{setting.name}{_shown(environ, setting)} {wrong}{_kubernetes(setting.name, environ)}")
    problems += [
        f"{name} is missing: {advice}" for name, advice in _REQUIRED[role].items() if not _given(name, environ)
    ]
    settings = Settings(**values)
    try:
        check_clopos_url(settings.clopos_url, allow=settings.allow_networks)
    except ValueError as wrong:
        problems.append(f"RELAY_CLOPOS_URL ({settings.clopos_url!r}) {wrong}")
    if problems:
        raise SettingsError(problems)
    warnings = () if ALREADY_WARNED in environ else (*_unknown(environ), *_doubtful(settings))
    return dataclasses.replace(settings, traces=_wants_traces(environ), warnings=warnings)


def _wants_traces(environ: Mapping[str, str]) -> bool:
    """By OpenTelemetry's own variables: a place to export to is named, and nothing is switched off."""
    off = environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none"
    names = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    return not off and any(environ.get(name) for name in names)


# ---- how each is read: a ValueError's text follows the name and does not repeat the value ----


def _duration(at_least: str, at_most: str) -> Callable[[str], float]:
    shortest, longest = parse_duration(at_least), parse_duration(at_most)
    return lambda text: parse_duration(text, at_least=shortest, at_most=longest) / timedelta(seconds=1)


def _whole(at_least: int, at_most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) or not at_least <= int(text) <= at_most:
            raise ValueError(f"is not a whole number from {at_least} to {at_most}")
        return int(text)

    return parse


def _host(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._:-]{1,253}", text, re.ASCII):
        raise ValueError("is not an address or a host name to listen on, such as 127.0.0.1, 0.0.0.0 or ::")
    return text


def _bearer(text: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]{1,4096}", text):
        raise ValueError("cannot be sent as a bearer token: use visible ASCII characters without spaces")
    return text


def _fernet_keys(text: str) -> tuple[str, ...]:
    keys = tuple(key.strip() for key in text.split(","))
    for number, key in enumerate(keys, start=1):
        try:
            size_bytes = len(base64.b64decode(key.encode(), altchars=b"-_", validate=True))
        except (binascii.Error, ValueError):
            raise ValueError(f"holds as key {number} something that is not URL-safe base64: {MAKE_A_KEY}") from None
        if size_bytes != _KEY_BYTES:
            raise ValueError(f"holds as key {number} {size_bytes} bytes instead of {_KEY_BYTES}: {MAKE_A_KEY}")
    if len(set(keys)) < len(keys):
        raise ValueError("holds the same key twice: remove one")
    return keys


_KEY_BYTES: Final = 32
MAKE_A_KEY: Final = (
    "make one with `python3 -c 'import base64, os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())'`"
)


def _redis_url(text: str) -> str:
    check_redis_url(text)
    return text


def _list_of(what: str, parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Have a parser that tells which entry is wrong say of what it is one."""

    def parse_all(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as wrong:
            raise ValueError(f"is not a list of {what}: {wrong}") from None

    return parse_all


def _log_format(text: str) -> str:
    if text not in get_args(LogFormat):
        raise ValueError(f"is not {' or '.join(get_args(LogFormat))}")
    return text


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table of settings.

    Attributes:
        secret: what it holds is never shown.
    """

    name: str
    attribute: str
    parse: Callable[[str], Any]
    secret: bool = False


SETTINGS: Final = (
    Setting("RELAY_REDIS_URL", "redis_url", _redis_url, secret=True),
    Setting("RELAY_DATA_DIR", "data_dir", Path),
    Setting("RELAY_HOST", "host", _host),
    Setting("RELAY_PORT", "port", _whole(1, 65_535)),
    Setting("RELAY_ADMIN_TOKEN", "admin_token", _bearer, secret=True),
    Setting("RELAY_SECRET_KEYS", "secret_keys", _fernet_keys, secret=True),
    Setting("RELAY_CLOPOS_URL", "clopos_url", check_http_url),
    Setting("RELAY_QUOTA_PER_MINUTE", "quota_per_minute", _whole(1, 1_000_000)),
    Setting("RELAY_POLL_INTERVAL", "poll_interval_s", _duration("50ms", "1d")),
    Setting("RELAY_RECONCILE_INTERVAL", "reconcile_interval_s", _duration("100ms", "7d")),
    Setting("RELAY_ATTEMPT_TIMEOUT", "attempt_timeout_s", _duration("100ms", "5m")),
    Setting("RELAY_RETRY_SCHEDULE", "retry_schedule", _list_of("delays", parse_schedule)),
    Setting("RELAY_ALLOW_NETWORKS", "allow_networks", _list_of("networks", parse_networks)),
    Setting("RELAY_RETENTION", "retention_s", _duration("100ms", "365d")),
    Setting("RELAY_LOG_FORMAT", "log_format", _log_format),
    Setting("RELAY_METRICS_TOKEN", "metrics_token", _bearer, secret=True),
    Setting("RELAY_URL", "url", check_http_url),
    Setting("RELAY_TOKEN", "token", _bearer, secret=True),
)
"""Every setting there is; what is not given keeps the default of ``Settings``."""

_REDIS: Final = {"RELAY_REDIS_URL": "set it to the Redis that all processes share, as redis://host:6379/0"}
_KEYS: Final = {"RELAY_SECRET_KEYS": f"every process needs the same; {MAKE_A_KEY}"}
_TOKEN: Final = {"RELAY_ADMIN_TOKEN": "set it to the token that may do everything, at least 32 random characters"}
_REQUIRED: Final[Mapping[Role, Mapping[str, str]]] = {
    Role.API: _REDIS | _KEYS | _TOKEN,
    Role.SCHEDULER: _REDIS | _KEYS,
    Role.WORKER: _REDIS | _KEYS,
    Role.UP: {},
    Role.DEMO: {},
    Role.COMMAND: {},
    Role.PROBE: {},
}

_LARGEST_FILE_BYTES: Final = 65_536


class _NotThereError(Exception):
    """The value could not be come by; the text follows the name."""


def _given(name: str, environ: Mapping[str, str]) -> bool:
    return name in environ or f"{name}_FILE" in environ


def _text(name: str, environ: Mapping[str, str]) -> str | None:
    """What a setting holds, without space around it; None if it is not set."""
    path = environ.get(f"{name}_FILE")
    if path is not None and name in environ:
        raise _NotThereError(f" and {name}_FILE are both set: set one of them")
    text = environ.get(name) if path is None else _of_file(Path(path))
    if text is None:
        return None
    if not text.strip():
        raise _NotThereError(
            " is empty: give it a value, or do not set it" if path is None else "_FILE names an empty file"
        )
    return text.strip()


def _of_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE_BYTES + 1)
        if len(content) > _LARGEST_FILE_BYTES:
            raise _NotThereError(f"_FILE ({path}) names a file of more than {_LARGEST_FILE_BYTES} bytes")
        return content.decode()
    except OSError as wrong:
        raise _NotThereError(f"_FILE ({path}) cannot be read: {wrong.strerror}") from None
    except ValueError:
        raise _NotThereError(f"_FILE ({path}) names a file that is not text") from None


def _shown(environ: Mapping[str, str], setting: Setting) -> str:
    """A wrong value in brackets: of a secret nothing but the file that it is from, of a URL no password."""
    path = environ.get(f"{setting.name}_FILE")
    if path is not None:
        return f" (from the file {path})"
    text = environ.get(setting.name, "")[:200]
    if setting.secret:
        found = _ADDRESS.match(text)
        if found is None:
            return ""
        password = "***@" if found["user"] else ""
        more = "?…" if found["more"] else ""
        return f" ('{found['scheme']}{password}{found['where']}{more}')"
    return f" ({re.sub(r'//.*@', '//***@', text)!r})"


_ADDRESS: Final = re.compile(
    r"(?P<scheme>unix://(?=/)|(rediss?|rediss?\+sentinel|valkeys?|https?|tcp)://)"
    r"(?P<user>[^?]*@)?(?P<where>([\w.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,9})?(,[\w.:-]+)*(/[\w./-]*)?|/[\w./-]*)"
    r"(?P<more>[?#].*)?$",
    re.ASCII | re.DOTALL,
)
"""A URL whose every part but user and query may be shown; what has another form may be a password, and is not."""


def _kubernetes(name: str, environ: Mapping[str, str]) -> str:
    if not re.match(r"(tcp|udp|sctp)://", environ.get(name, "")):
        return ""
    return (
        ". Kubernetes sets it so where a Service is named `relay`: "
        "put `enableServiceLinks: false` into the pod, or give the Service another name"
    )


def _doubtful(settings: Settings) -> list[str]:
    """What is allowed and probably not meant."""
    warnings = []
    for name, token in (("RELAY_ADMIN_TOKEN", settings.admin_token), ("RELAY_METRICS_TOKEN", settings.metrics_token)):
        if token and len(token) < 16:  # noqa: PLR2004 - and 32 is what the sentence asks for
            warnings.append(f"{name} is only {len(token)} characters long: use at least 32 random ones")
    warnings += [
        f"RELAY_ALLOW_NETWORKS holds {network}, which lets subscriptions reach everything, this machine included"
        for network in settings.allow_networks.unbounded
    ]
    fastest_s = 60 / settings.quota_per_minute
    if settings.poll_interval_s < fastest_s:
        warnings.append(
            f"RELAY_POLL_INTERVAL is {_written(settings.poll_interval_s)}, but RELAY_QUOTA_PER_MINUTE allows one "
            f"request in 60 s / {settings.quota_per_minute} = {fastest_s:.3g} s for all venues: that is the pace"
        )
    last_try_s = sum(settings.retry_schedule)
    if settings.retention_s < last_try_s:
        warnings.append(
            f"RELAY_RETENTION is {_written(settings.retention_s)}, but the delays of RELAY_RETRY_SCHEDULE come to "
            f"{_written(last_try_s)}: deliveries will expire before they are dead"
        )
    return warnings


def _written(seconds: float) -> str:
    return format_duration(timedelta(milliseconds=round(seconds * 1000)))


def _unknown(environ: Mapping[str, str]) -> list[str]:
    names = [setting.name for setting in SETTINGS]
    known = {*names, *(f"{name}_FILE" for name in names)}
    warnings = []
    for name in sorted(environ):
        if name.startswith("RELAY_") and name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.8)
            warnings.append(
                f"{name} is not a setting and does nothing" + (f": did you mean {near[0]}?" if near else "")
            )
    return warnings
