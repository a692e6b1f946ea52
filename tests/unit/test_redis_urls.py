from __future__ import annotations

import pytest

from relay.core.redis_urls import Sentinels, check_redis_url, parse_sentinels


def test_sentinels_their_name_and_the_password_of_the_servers_are_read() -> None:
    assert parse_sentinels("redis+sentinel://:p%40ss@a:26379,b,[::1]:26380/relay/3") == Sentinels(
        nodes=(("a", 26379), ("b", 26379), ("::1", 26380)), name="relay", db=3, password="p@ss"
    )


def test_user_and_password_of_servers_and_of_sentinels_are_told_apart() -> None:
    found = parse_sentinels("redis+sentinel://app:one@a/relay?sentinel_username=watch&sentinel_password=t%26wo")
    assert found is not None
    assert (found.username, found.password, found.db) == ("app", "one", 0)
    assert (found.sentinel_username, found.sentinel_password) == ("watch", "t&wo")


def test_tls_is_for_servers_and_sentinels_alike_unless_said_otherwise() -> None:
    both = parse_sentinels("redis+sentinel://a/relay/0?ssl=true&ssl_ca_certs=/etc/ca.crt&ssl_check_hostname=no")
    servers = parse_sentinels("redis+sentinel://a/relay/0?ssl=yes&sentinel_ssl=no")
    assert both is not None
    assert servers is not None
    assert (both.tls, both.sentinel_tls) == (True, True)
    assert dict(both.tls_options) == {"ssl_ca_certs": "/etc/ca.crt", "ssl_check_hostname": False}
    assert (servers.tls, servers.sentinel_tls) == (True, False)


@pytest.mark.parametrize(
    ("word", "meant"), [("1", True), ("true", True), ("yes", True), ("0", False), ("false", False), ("no", False)]
)
def test_yes_and_no_are_spelt_in_three_ways(word: str, *, meant: bool) -> None:
    found = parse_sentinels(f"redis+sentinel://a/relay?ssl={word}")
    assert found is not None
    assert found.tls is meant


def test_the_address_of_one_server_names_no_sentinels() -> None:
    assert parse_sentinels("redis://host:6379/0") is None


def test_nothing_secret_is_in_its_repr() -> None:
    shown = repr(parse_sentinels("redis+sentinel://user:hunter2@a/relay?sentinel_password=hunter3"))
    assert "hunter" not in shown
    assert "user" not in shown.replace("username", "")


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://:hunter2@host:26379",
        "redis+sentinel://:hunter2@host:26379/",
        "redis+sentinel://:hunter2@/relay",
        "redis+sentinel://:hunter2@host:0/relay",
        "redis+sentinel://:hunter2@host:99999/relay",
        "redis+sentinel://:hunter2@host:port/relay",
        "redis+sentinel://:hunter2@a,,b/relay",
        "redis+sentinel://:hunter2@::1/relay",
        "redis+sentinel://:hunter2@a/relay/zero",
        "redis+sentinel://:hunter2@a/relay/0/0",
        "redis+sentinel://:hunter2@a/relay?ssl=perhaps",
        "redis+sentinel://:hunter2@a/relay?ssl_cert_reqs=hunter2",
        "redis+sentinel://:hunter2@a/relay?pasword=hunter2",
    ],
)
def test_another_form_is_refused_without_what_it_holds(url: str) -> None:
    with pytest.raises(ValueError, match=r"^(is not|has an)") as refused:
        check_redis_url(url)
    assert "hunter2" not in str(refused.value)
