"""What a subscription may point at."""

# ruff: noqa: RUF001 - look-alike characters are what is tested

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from relay.core.netpolicy import NOWHERE, CheckedUrl, Networks, Refused, Why, check_url, parse_networks

INSIDE = parse_networks("127.0.0.1/32,10.0.0.0/8,fd00::/8")


def checked(url: str, allow: Networks = NOWHERE) -> CheckedUrl:
    verdict = check_url(url, allow=allow)
    assert isinstance(verdict, CheckedUrl), verdict
    return verdict


def refused(url: str, allow: Networks = NOWHERE) -> Refused:
    verdict = check_url(url, allow=allow)
    assert isinstance(verdict, Refused), verdict
    return verdict


@pytest.mark.parametrize(
    ("url", "normalized"),
    [
        ("https://courier.example/hooks", "https://courier.example/hooks"),
        ("https://courier.example", "https://courier.example/"),
        ("HTTPS://Courier.EXAMPLE/Hooks", "https://courier.example/Hooks"),
        ("https://courier.example:443/", "https://courier.example/"),
        ("https://courier.example:8443/", "https://courier.example:8443/"),
        ("https://courier.example:00443/", "https://courier.example/"),
        ("https://courier.example:65535/", "https://courier.example:65535/"),
        ("https://courier.example:1/", "https://courier.example:1/"),
        ("https://courier.example./", "https://courier.example/"),
        ("https://courier.example?key=1", "https://courier.example/?key=1"),
        ("https://courier.example?", "https://courier.example/"),
        ("https://courier.example/hooks?", "https://courier.example/hooks"),
        ("https://courier.example/hooks??", "https://courier.example/hooks??"),
        ("https://courier.example/a%2Fb/../c;d?e=f&g=%20h", "https://courier.example/a%2Fb/../c;d?e=f&g=%20h"),
        ("https://courier.example/a@b:c?u=http://x@y/", "https://courier.example/a@b:c?u=http://x@y/"),
        ('https://courier.example/é?q={x}|"<>^`', "https://courier.example/%C3%A9?q=%7Bx%7D%7C%22%3C%3E%5E%60"),
        ("https://a_b.example/", "https://a_b.example/"),
        ("https://r3---sn-x.example/", "https://r3---sn-x.example/"),
        ("https://1and1.example/", "https://1and1.example/"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://BÜCHER.example/", "https://xn--bcher-kva.example/"),
        ("https://bu\u0308cher.example/", "https://xn--bcher-kva.example/"),
        ("https://faß.example/", "https://xn--fa-hia.example/"),
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"),
        ("https://8.8.8.8/", "https://8.8.8.8/"),
        ("https://[2606:4700:4700:0::1111]:8443/x", "https://[2606:4700:4700::1111]:8443/x"),
        ("https://[2606:4700:4700::ABCD]/", "https://[2606:4700:4700::abcd]/"),
        ("https://courier.example/" + "a" * 8_168, "https://courier.example/" + "a" * 8_168),
    ],
)  # fmt: skip
def test_a_url_is_kept_in_one_normalized_form(url: str, normalized: str) -> None:
    assert checked(url).url == normalized
    assert checked(normalized) == checked(url)


def test_a_checked_url_says_where_to_connect() -> None:
    url = checked("https://bücher.example:8443/hooks")
    assert (url.scheme, url.host, url.port, url.address) == ("https", "xn--bcher-kva.example", 8443, None)
    assert not url.listed_only
    assert checked("https://[2606:4700::1]/").host == "2606:4700::1"
    assert str(checked("https://8.8.8.8/").address) == "8.8.8.8"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("", Why.EMPTY),
        (" ", Why.CHARACTERS),
        ("https://courier.example/" + "a" * 8_193, Why.TOO_LONG),
        ("https://courier.example/" + "é" * 3_000, Why.TOO_LONG),
        # scheme
        ("courier.example", Why.SCHEME),
        ("//courier.example/", Why.SCHEME),
        ("/hooks", Why.SCHEME),
        ("https:/courier.example", Why.SCHEME),
        ("https:courier.example", Why.SCHEME),
        ("http://courier.example/", Why.SCHEME),
        ("http://8.8.8.8/", Why.SCHEME),
        ("ftp://courier.example/", Why.SCHEME),
        ("file:///etc/passwd", Why.SCHEME),
        ("gopher://courier.example/", Why.SCHEME),
        ("javascript:alert(1)", Why.SCHEME),
        ("javascript://courier.example/%0aalert(1)", Why.SCHEME),
        ("data:text/plain,x", Why.SCHEME),
        ("ws://courier.example/", Why.SCHEME),
        ("unix:///run/x.sock", Why.SCHEME),
        ("https+unix://courier.example/", Why.SCHEME),
        ("127.0.0.1#@good.example", Why.SCHEME),
        ("good.example@127.0.0.1", Why.SCHEME),
        # user name and password
        ("https://u:p@courier.example/", Why.USERINFO),
        ("https://u@courier.example/", Why.USERINFO),
        ("https://@courier.example/", Why.USERINFO),
        ("https://good.example@127.0.0.1/", Why.USERINFO),
        ("https://good.example%40127.0.0.1/", Why.ADDRESS_SPELLING),
        # fragment
        ("https://courier.example/#x", Why.FRAGMENT),
        ("https://courier.example/#", Why.FRAGMENT),
        ("https://courier.example#@good.example", Why.FRAGMENT),
        # port
        ("https://courier.example:/", Why.PORT),
        ("https://courier.example:0/", Why.PORT),
        ("https://courier.example:-1/", Why.PORT),
        ("https://courier.example:+1/", Why.PORT),
        ("https://courier.example:65536/", Why.PORT),
        ("https://courier.example:99999/", Why.PORT),
        ("https://courier.example:100000/", Why.PORT),
        ("https://courier.example:8o/", Why.PORT),
        ("https://courier.example:٤٤٣/", Why.PORT),
        ("https://courier.example:443:443/", Why.PORT),
        ("https://2606:4700::1/", Why.ADDRESS_SPELLING),
        # characters
        ("https://courier.example/a b", Why.CHARACTERS),
        (" https://courier.example/", Why.CHARACTERS),
        ("https://courier.example/\n", Why.CHARACTERS),
        ("https://cou\trier.example/", Why.CHARACTERS),
        ("https://cou\rrier.example/", Why.CHARACTERS),
        ("https://courier.example/\x00", Why.CHARACTERS),
        ("https://courier.example/\x7f", Why.CHARACTERS),
        ("https://courier.example\\@127.0.0.1/", Why.CHARACTERS),
        ("https:\\\\courier.example\\", Why.CHARACTERS),
        ("https://cou\u200brier.example/", Why.CHARACTERS),
        ("https://cou\u00adrier.example/", Why.CHARACTERS),
        ("https://courier.example/\u202e", Why.CHARACTERS),
        ("https://courier.example/\ud800", Why.CHARACTERS),
        ("https://courier.example\u3000/", Why.CHARACTERS),
        ("\ufeffhttps://courier.example/", Why.CHARACTERS),
        # host
        ("https://", Why.HOST),
        ("https:///hooks", Why.HOST),
        ("https://?x", Why.HOST),
        ("https://:443/", Why.HOST),
        ("https://./", Why.HOST),
        ("https://../", Why.HOST),
        ("https://.courier.example/", Why.HOST),
        ("https://courier..example/", Why.HOST),
        ("https://courier.example../", Why.HOST),
        ("https://-courier.example/", Why.HOST),
        ("https://courier-.example/", Why.HOST),
        ("https://cour,ier.example/", Why.HOST),
        ("https://cour*ier.example/", Why.HOST),
        ("https://courier%2eexample/", Why.HOST),
        ("https://courier.example%00/", Why.HOST),
        ("https://courier.example%2f.evil.example/", Why.HOST),
        ("https://" + "a" * 64 + ".example/", Why.HOST),
        ("https://" + ".".join(["a" * 49] * 5) + ".example/", Why.HOST),
        ("https://" + "ü" * 60 + ".example/", Why.HOST),
        ("https://xn--/", Why.HOST),
        ("https://xn--.example/", Why.HOST),
        ("https://xn--a.example/", Why.HOST),
        ("https://xn--bcher-kva-.example/", Why.HOST),
        ("https://xn--0000h.example/", Why.HOST),
        ("https://☃.example/", Why.HOST),
        ("https://courier。example/", Why.HOST),
        ("https://courier．example/", Why.HOST),
        ("https://ｃourier.example/", Why.HOST),
        ("https://courier.example／evil/", Why.HOST),
        ("https://courier℀.example/", Why.HOST),
        ("https://[v1.fe80::a]/", Why.HOST),
        ("https://[2606:4700::1/", Why.HOST),
        ("https://[2606:4700::1]x/", Why.HOST),
        ("https://[::g]/", Why.HOST),
        ("https://[8.8.8.8]/", Why.HOST),
        ("https://[]/", Why.HOST),
        ("https://courier].example/", Why.HOST),
    ],
)  # fmt: skip
def test_whatever_is_not_plainly_an_https_url_is_refused(url: str, code: Why) -> None:
    assert refused(url).code is code


@pytest.mark.parametrize(
    "host",
    ["127.1", "127.0.1", "0x7f000001", "0x7f.0.0.1", "2130706433", "017700000001", "0177.0.0.1", "0", "0.0",
     "127.0.0.01",
     "127.0.0.1.", "127。0。0。1", "127．0．0．1", "127｡0｡0｡1", "１２７.0.0.1", "①②⑦.0.0.1", "127.0.0.0x1", "256.0.0.1",
     "1.2.3.4.5", "8.8.8", "8.8.8.8.", "0x", "foo.0x7f", "foo.1", "0x7F000001", "１", "127.0.0.1。", "127․0․0․1",
     "٠.0.0.1", "127.0.0.١"],
)  # fmt: skip
@pytest.mark.parametrize("allow", [NOWHERE, INSIDE], ids=["nowhere", "inside"])
def test_odd_spellings_of_addresses_are_refused_whatever_is_allowed(host: str, allow: Networks) -> None:
    assert refused(f"https://{host}/", allow).code in {Why.ADDRESS_SPELLING, Why.HOST}


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "[::1]",
     "[::]",
     "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::10.0.0.1]", "[2002:7f00:1::]", "[fe80::1]",
     "[fe80::1%25eth0]", "[fe80::1%eth0]", "[fd00::1]", "[ff02::1]"],
)  # fmt: skip
def test_addresses_that_are_not_public_are_refused(host: str) -> None:
    assert refused(f"https://{host}/").code is Why.ADDRESS_NOT_ALLOWED


@pytest.mark.parametrize("host", ["127.0.0.1", "10.1.2.3", "[fd00::1]", "[::ffff:10.1.2.3]"])
def test_listed_addresses_may_be_called_also_by_plain_http(host: str) -> None:
    assert not checked(f"https://{host}:9000/", INSIDE).listed_only
    assert checked(f"http://{host}:9000/", INSIDE).listed_only
    assert not checked(f"http://{host}:9000/", INSIDE).needs_resolution


def test_plain_http_to_an_address_that_is_not_listed_is_refused() -> None:
    assert refused("http://8.8.8.8/", INSIDE).code is Why.SCHEME
    assert refused("http://192.168.1.1/", INSIDE).code is Why.ADDRESS_NOT_ALLOWED


def test_plain_http_to_a_name_waits_for_what_it_resolves_to() -> None:
    url = checked("http://receiver.example:9000/", INSIDE)
    assert url.listed_only
    assert url.needs_resolution


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost.", "LOCALHOST", "x.localhost", "printer.local", "a.b.local", "metadata.google.internal",
     "internal", "api.default.svc", "api.default.svc.cluster.local", "receiver", "com", "router.lan", "x.home.arpa",
     "x.localdomain", "wiki.corp", "x.intranet", "xn--bcher-kva"],
)  # fmt: skip
def test_names_of_private_networks_are_refused_unless_some_network_is_allowed(host: str) -> None:
    assert refused(f"https://{host}/").code is Why.NAME_NOT_ALLOWED
    url = checked(f"https://{host}/", INSIDE)
    assert url.listed_only
    assert url.needs_resolution


@pytest.mark.parametrize(
    "host", ["localhost.example", "mylocal.example", "internal.example", "svc.example", "xlocal.az"]
)
def test_names_that_only_look_private_are_public(host: str) -> None:
    assert not checked(f"https://{host}/").listed_only
    assert not checked(f"https://{host}/", INSIDE).needs_resolution


def test_a_refusal_never_repeats_the_url() -> None:
    for url in ("https://hunter2:hunter2@courier.example/", "https://hunter2..example/", "hunter2", "https://hunter2/"):
        assert "hunter2" not in refused(url).reason


HOSTLIKE = st.text(st.sampled_from(list("aZ09.-_:@/\\?#[]%xn ü。１ßⅠ\u200d\t\x00é")), max_size=24)


@given(HOSTLIKE | st.text(max_size=40), st.sampled_from([NOWHERE, INSIDE]))
def test_no_text_breaks_the_check_and_what_passes_is_read_alike_by_the_sender(text: str, allow: Networks) -> None:
    for url in (text, f"https://{text}", f"https://courier.example/{text}", f"http://{text}:80/"):
        verdict = check_url(url, allow=allow)
        if isinstance(verdict, Refused):
            assert verdict.reason
            continue
        assert verdict.url.isascii()
        assert check_url(verdict.url, allow=allow) == verdict
        for seen in (URL(verdict.url), URL(verdict.url, encoded=True)):
            assert (seen.scheme, seen.raw_host, seen.port) == (verdict.scheme, verdict.host, verdict.port)
            assert seen.user is None
            assert not seen.fragment
