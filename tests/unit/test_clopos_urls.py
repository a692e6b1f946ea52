import pytest

from relay.core.addresses import NOWHERE, parse_networks
from relay.core.clopos_urls import check_clopos_url

SHOP = parse_networks("10.0.0.0/8")


@pytest.mark.parametrize(
    ("url", "normalized"),
    [
        ("https://integrations.clopos.com/open-api/v2", "https://integrations.clopos.com/open-api/v2"),
        ("https://integrations.clopos.com/open-api/v2//", "https://integrations.clopos.com/open-api/v2"),
        ("HTTPS://Integrations.Clopos.com/Open-API", "https://integrations.clopos.com/Open-API"),
        ("http://127.0.0.1:8090/open-api/v2/", "http://127.0.0.1:8090/open-api/v2"),
        ("http://localhost:8090", "http://localhost:8090"),
        ("http://[::1]:8090", "http://[::1]:8090"),
    ],
)
def test_a_url_is_normalized(url: str, normalized: str) -> None:
    assert check_clopos_url(url, allow=NOWHERE) == normalized
    assert check_clopos_url(normalized, allow=NOWHERE) == normalized


@pytest.mark.parametrize("url", ["http://clopos.example/v2", "http://10.1.2.3/v2", "http://sandbox:8090"])
def test_plain_http_leads_nowhere_but_to_this_machine(url: str) -> None:
    with pytest.raises(ValueError, match="use https"):
        check_clopos_url(url, allow=NOWHERE)


@pytest.mark.parametrize("url", ["http://10.1.2.3/v2", "http://sandbox:8090"])
def test_plain_http_is_accepted_in_the_operators_networks(url: str) -> None:
    assert check_clopos_url(url, allow=SHOP) == url


def test_plain_http_to_an_address_outside_the_operators_networks_is_refused() -> None:
    with pytest.raises(ValueError, match="RELAY_ALLOW_NETWORKS"):
        check_clopos_url("http://192.168.0.1", allow=SHOP)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "clopos.example",
        "//clopos.example",
        "ftp://clopos.example",
        "https://",
        "https://user:hunter2@clopos.example",
        "https://@clopos.example",
        "https://clopos.example?x=1",
        "https://clopos.example#",
        "https://clopos.example:99999",
        "https://clopos.example:0",
        "https://clopos.example/a b",
        "https://clopos.example\\@evil.example",
        "https://[::1",
        "https://clopos.example/" + "x" * 3_000,
    ],
)
def test_what_is_no_base_url_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ValueError, match=r"^(is|holds) ") as wrong:
        check_clopos_url(url, allow=NOWHERE)
    assert "hunter2" not in str(wrong.value)
