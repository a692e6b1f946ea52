import base64
import re
from pathlib import Path

import pytest

from relay.settings import SETTINGS, Role, Settings, SettingsError, load_settings

KEY = base64.urlsafe_b64encode(bytes(range(32))).decode()
OTHER_KEY = base64.urlsafe_b64encode(bytes(range(1, 33))).decode()
NEEDED = {"RELAY_REDIS_URL": "redis://redis:6379/0", "RELAY_SECRET_KEYS": KEY, "RELAY_ADMIN_TOKEN": "t" * 32}


def _load(role: Role = Role.UP, /, **environ: str) -> Settings:
    return load_settings(environ, role=role)


def _problem(**environ: str) -> str:
    with pytest.raises(SettingsError) as wrong:
        _load(**environ)
    (problem,) = wrong.value.problems
    return problem


def test_without_any_the_documented_defaults_hold() -> None:
    settings = _load()
    assert (settings.host, settings.port) == ("127.0.0.1", 8080)
    assert settings.data_dir == Path("relay-data")
    assert settings.clopos_url == "https://integrations.clopos.com/open-api/v2"
    assert (settings.quota_per_minute, settings.poll_interval_s, settings.reconcile_interval_s) == (300, 2.0, 600.0)
    assert (settings.attempt_timeout_s, settings.retention_s) == (15.0, 604_800.0)
    assert [*settings.retry_schedule] == [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400]
    assert (settings.url, settings.token) == ("http://127.0.0.1:8080", "")
    assert not any((settings.redis_url, settings.admin_token, settings.secret_keys, settings.warnings))
    assert settings.log_format is None
    assert settings.metrics_token is None


def test_every_setting_is_read() -> None:
    settings = _load(
        **NEEDED,
        RELAY_DATA_DIR="/var/lib/relay",
        RELAY_HOST="::",
        RELAY_PORT="9999",
        RELAY_CLOPOS_URL="http://127.0.0.1:8090/open-api/v2/",
        RELAY_QUOTA_PER_MINUTE="600",
        RELAY_POLL_INTERVAL="500ms",
        RELAY_RECONCILE_INTERVAL="1h",
        RELAY_ATTEMPT_TIMEOUT="1.5s",
        RELAY_RETRY_SCHEDULE="1s, 2s,1m",
        RELAY_ALLOW_NETWORKS="10.0.0.0/8,fd00::/8",
        RELAY_RETENTION="30d",
        RELAY_LOG_FORMAT="json",
        RELAY_METRICS_TOKEN="m" * 32,
        RELAY_URL="https://relay.example/",
        RELAY_TOKEN="k" * 32,
    )
    assert settings.redis_url == "redis://redis:6379/0"
    assert (settings.data_dir, settings.host, settings.port) == (Path("/var/lib/relay"), "::", 9999)
    assert settings.clopos_url == "http://127.0.0.1:8090/open-api/v2"
    assert (settings.quota_per_minute, settings.poll_interval_s, settings.reconcile_interval_s) == (600, 0.5, 3600.0)
    assert (settings.attempt_timeout_s, settings.retry_schedule) == (1.5, (1.0, 2.0, 60.0))
    assert str(settings.allow_networks) == "10.0.0.0/8,fd00::/8"
    assert (settings.retention_s, settings.log_format, settings.metrics_token) == (30 * 86_400, "json", "m" * 32)
    assert (settings.url, settings.token) == ("https://relay.example", "k" * 32)
    assert (settings.secret_keys, settings.admin_token) == ((KEY,), "t" * 32)
    assert settings.warnings == ()


def test_a_value_may_be_in_a_file_with_a_newline_at_its_end(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"{KEY},{OTHER_KEY}\n")
    assert _load(RELAY_SECRET_KEYS_FILE=str(tmp_path / "keys")).secret_keys == (KEY, OTHER_KEY)


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "No such file"), (b" \n", "empty"), (b"\xff\xfe", "not text"), (b"x" * 70_000, "more than")],
)
def test_a_file_that_holds_no_value_is_named(tmp_path: Path, content: bytes | None, told: str) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    problem = _problem(RELAY_ADMIN_TOKEN_FILE=str(path))
    assert problem.startswith("RELAY_ADMIN_TOKEN_FILE")
    assert told in problem


def test_a_value_and_a_file_for_it_contradict_each_other(tmp_path: Path) -> None:
    assert "both set" in _problem(RELAY_PORT="8080", RELAY_PORT_FILE=str(tmp_path / "port"))


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(SettingsError) as wrong:
        _load(Role.API, RELAY_PORT="http", RELAY_POLL_INTERVAL="2", RELAY_ALLOW_NETWORKS="10.0.0.0/33")
    told = [problem.split()[0] for problem in wrong.value.problems]
    assert told == [
        "RELAY_PORT",
        "RELAY_POLL_INTERVAL",
        "RELAY_ALLOW_NETWORKS",
        "RELAY_REDIS_URL",
        "RELAY_SECRET_KEYS",
        "RELAY_ADMIN_TOKEN",
    ]


@pytest.mark.parametrize(
    ("role", "missing"),
    [
        (Role.API, ["RELAY_REDIS_URL", "RELAY_SECRET_KEYS", "RELAY_ADMIN_TOKEN"]),
        (Role.WORKER, ["RELAY_REDIS_URL", "RELAY_SECRET_KEYS"]),
        (Role.SCHEDULER, ["RELAY_REDIS_URL", "RELAY_SECRET_KEYS"]),
    ],
)
def test_one_role_alone_needs_what_nobody_can_make_up_for_it(role: Role, missing: list[str]) -> None:
    with pytest.raises(SettingsError) as wrong:
        _load(role)
    assert [problem.split()[0] for problem in wrong.value.problems] == missing
    assert _load(role, **NEEDED).redis_url


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
@pytest.mark.parametrize("value", ["", "  ", "\n"])
def test_an_empty_setting_is_wrong(setting: object, value: str) -> None:
    name = setting.name  # type: ignore[attr-defined]  # a row of the table
    assert _problem(**{name: value}) == f"{name} is empty: give it a value, or do not set it"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RELAY_PORT", "0"),
        ("RELAY_PORT", "65536"),
        ("RELAY_PORT", "-1"),
        ("RELAY_PORT", "80.0"),
        ("RELAY_PORT", "\u0668\u0660"),
        ("RELAY_HOST", "a host"),
        ("RELAY_HOST", "http://127.0.0.1"),
        ("RELAY_QUOTA_PER_MINUTE", "0"),
        ("RELAY_QUOTA_PER_MINUTE", "300/m"),
        ("RELAY_POLL_INTERVAL", "0"),
        ("RELAY_POLL_INTERVAL", "0s"),
        ("RELAY_POLL_INTERVAL", "0.01"),
        ("RELAY_POLL_INTERVAL", "10ms"),
        ("RELAY_POLL_INTERVAL", "-2s"),
        ("RELAY_POLL_INTERVAL", "2 seconds"),
        ("RELAY_ATTEMPT_TIMEOUT", "1h"),
        ("RELAY_RETRY_SCHEDULE", "5s,1s"),
        ("RELAY_RETRY_SCHEDULE", "5s,,5m"),
        ("RELAY_RETRY_SCHEDULE", ",".join(["1s"] * 21)),
        ("RELAY_RETRY_SCHEDULE", "20d,20d"),
        ("RELAY_ALLOW_NETWORKS", "10.0.0.0/33"),
        ("RELAY_ALLOW_NETWORKS", "10.0.0.1/8"),
        ("RELAY_ALLOW_NETWORKS", "localhost"),
        ("RELAY_LOG_FORMAT", "xml"),
        ("RELAY_CLOPOS_URL", "http://clopos.example/v2"),
        ("RELAY_CLOPOS_URL", "ftp://clopos.example/v2"),
        ("RELAY_CLOPOS_URL", "clopos.example"),
        ("RELAY_URL", "localhost:8080"),
    ],
)
def test_a_wrong_value_is_told_with_its_name_and_what_it_holds(name: str, value: str) -> None:
    problem = _problem(**{name: value})
    assert problem.startswith(f"{name} ({value!r}) is ")


@pytest.mark.parametrize(
    "value",
    [
        "hunter2",
        "http://hunter2@host",
        "redis://:hunter2@host:port",
        "redis://:hunter2@/0",
        "redis://:hunter2@host/zero",
        "unix://hunter2",
        "redis+sentinel://:hunter2@host:26379",
        "redis+sentinel://:hunter2@host:26379/NAME/zero",
    ],
)
def test_a_wrong_redis_url_is_told_without_what_it_holds(value: str) -> None:
    problem = _problem(RELAY_REDIS_URL=value)
    assert problem.startswith("RELAY_REDIS_URL ")
    assert "hunter2" not in problem


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("redis://app:hun@ter2@redis.example:99999/0", "('redis://***@redis.example:99999/0') is not a URL"),
        ("http://:hunter2@redis.example", "('http://***@redis.example') does not start with redis://"),
        ("redis+sentinel://:hunter2@a:1,b:2?x=hunter2", "('redis+sentinel://***@a:1,b:2?…') is not redis+sentinel"),
        ("redis://:hun?ter2@host/0", "is not a URL such as"),
        ("redis://:hunter2", "is not a URL such as"),
        ("hunter2", "does not start with"),
    ],
)
def test_of_a_wrong_redis_url_is_shown_what_cannot_be_its_password(value: str, shown: str) -> None:
    problem = _problem(RELAY_REDIS_URL=value)
    assert problem.startswith(f"RELAY_REDIS_URL {shown}")
    assert "hunter2" not in problem
    assert "ter2" not in problem


def test_of_a_wrong_value_from_a_file_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("redis://:hunter2@host:port\n")
    problem = _problem(RELAY_REDIS_URL_FILE=str(tmp_path / "url"))
    assert problem.startswith(f"RELAY_REDIS_URL (from the file {tmp_path / 'url'}) is not a URL")
    assert "hunter2" not in problem


def test_a_password_that_another_setting_was_given_is_not_shown() -> None:
    assert _problem(RELAY_URL="http://user:hunt/er2@host").startswith("RELAY_URL ('http://***@host') is not a URL")


@pytest.mark.parametrize(
    "value",
    [
        "redis://127.0.0.1",
        "redis://user:p%40ss@redis.example:6379/3",
        "rediss://:pass@redis.example:6380/0?ssl_cert_reqs=required",
        "unix:///run/redis.sock",
        "unix:///run/redis.sock?db=2",
        "redis+sentinel://:pass@a:26379,b:26379,[::1]:26379/relay/0",
        "redis+sentinel://a:26379/relay",
    ],
)
def test_each_documented_form_of_redis_url_is_accepted(value: str) -> None:
    assert _load(RELAY_REDIS_URL=value).redis_url == value


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (base64.urlsafe_b64encode(b"k" * 16).decode(), "key 1 16 bytes instead of 32"),
        (f"{KEY},hunter2!", "key 2 something that is not URL-safe base64"),
        (f"{KEY},", "key 2 0 bytes"),
        (f"{KEY},{KEY}", "the same key twice"),
        (KEY[:-1], "not URL-safe base64"),
        ("\u00e9" * 44, "not URL-safe base64"),
    ],
)
def test_a_wrong_secret_key_is_told_by_its_place_and_never_shown(value: str, told: str) -> None:
    problem = _problem(RELAY_SECRET_KEYS=value)
    assert problem.startswith("RELAY_SECRET_KEYS holds")
    assert told in problem
    assert KEY not in problem
    assert "hunter2" not in problem


def test_a_password_in_a_url_is_not_shown() -> None:
    assert "hunter2" not in _problem(RELAY_CLOPOS_URL="https://user:hunter2@clopos.example")


@pytest.mark.parametrize("name", ["RELAY_ADMIN_TOKEN", "RELAY_METRICS_TOKEN", "RELAY_TOKEN"])
def test_a_token_that_no_header_can_carry_is_refused(name: str) -> None:
    problem = _problem(**{name: "two words of hunter2"})
    assert problem.startswith(f"{name} cannot be sent")
    assert "hunter2" not in problem


def test_the_port_that_kubernetes_sets_is_explained() -> None:
    problem = _problem(RELAY_PORT="tcp://10.0.0.1:8080")
    assert "enableServiceLinks: false" in problem


def test_plain_http_to_clopos_is_accepted_in_the_allowed_networks() -> None:
    settings = _load(RELAY_CLOPOS_URL="http://10.1.2.3/v2", RELAY_ALLOW_NETWORKS="10.0.0.0/8")
    assert settings.clopos_url == "http://10.1.2.3/v2"


def test_a_variable_that_is_no_setting_is_warned_of_with_what_was_meant() -> None:
    settings = _load(RELAY_POL_INTERVAL="2s", RELAY_SERVICE_HOST="10.0.0.1", HOME="/root")
    assert [warning.split()[0] for warning in settings.warnings] == ["RELAY_POL_INTERVAL", "RELAY_SERVICE_HOST"]
    assert "did you mean RELAY_POLL_INTERVAL?" in settings.warnings[0]


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"RELAY_POLL_INTERVAL": "100ms"}, "60 s / 300 = 0.2 s"),
        ({"RELAY_RETENTION": "1d"}, "come to"),
        ({"RELAY_ALLOW_NETWORKS": "0.0.0.0/0"}, "reach everything"),
        ({"RELAY_ADMIN_TOKEN": "short"}, "5 characters"),
    ],
)
def test_what_is_allowed_and_probably_not_meant_is_warned_of(environ: dict[str, str], told: str) -> None:
    (warning,) = _load(**environ).warnings
    assert told in warning
    assert warning.startswith(next(iter(environ)))


def test_the_settings_can_be_shown_without_their_secrets() -> None:
    shown = repr(_load(**NEEDED, RELAY_METRICS_TOKEN="m" * 32, RELAY_TOKEN="k" * 32))
    for secret in (*NEEDED.values(), "m" * 32, "k" * 32):
        assert secret not in shown


def test_the_table_in_the_documents_is_the_table_in_the_code() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    rows = dict(re.findall(r"^\| `(RELAY_\w+)` \| (.*?) \|", page, re.MULTILINE))
    assert list(rows) == [setting.name for setting in SETTINGS]
    shown = {name: found[1] for name, text in rows.items() if (found := re.fullmatch(r"`([^`]+)`", text))}
    read = _load(**shown)
    assert read == _load()
    assert len(shown) > 8
