"""Short ways to send in tests."""

from relay.core.netpolicy import CheckedUrl, Networks, check_url, parse_networks
from relay.egress.sender import Attempt, OutboundRequest, Sender

LOOPBACK = parse_networks("127.0.0.0/8,::1/128")
BODY = '{"id":"evt_1","name":"Əli"}'.encode()
HEADERS = {
    "webhook-id": "evt_1",
    "webhook-timestamp": "1770039965",
    "webhook-signature": "v1,xyz",
    "relay-attempt": "1",
}


def checked(url: str, allow: Networks = LOOPBACK) -> CheckedUrl:
    verdict = check_url(url, allow=allow)
    assert isinstance(verdict, CheckedUrl), verdict
    return verdict


async def post(
    sender: Sender,
    url: str | CheckedUrl,
    *,
    timeout_s: float = 5.0,
    headers: dict[str, str] | None = None,
    body: bytes = BODY,
) -> Attempt:
    target = checked(url) if isinstance(url, str) else url
    return await sender.send(OutboundRequest(target, headers or HEADERS, body, timeout_s))
