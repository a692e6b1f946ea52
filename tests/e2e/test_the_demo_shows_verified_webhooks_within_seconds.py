import re
import signal
import socket

from tests.e2e.machines import machine

TYPES = re.compile(r"\b((?:order|station|venue)\.[a-z_]+)\b.*\bverified\b")


def types_of(lines: list[str]) -> set[str]:
    """Of which types verified webhooks were printed."""
    return {found[1] for line in lines if (found := TYPES.search(line))}


def test_the_demo_shows_verified_webhooks_and_stops_cleanly() -> None:
    with machine() as demo:
        demo.start("demo", "--verbose")
        demo.until(lambda: any("Webhooks as they arrive" in line for line in demo.out), timeout_s=100)
        demo.until(lambda: len(types_of(demo.out)) >= 2)
        printed = "\n".join(demo.out)
        for word in (demo.url, demo.token, "/docs", "/ui", "curl -H", "/control"):
            assert word in printed, demo.said()
        assert "REFUSED" not in printed

        with demo.api() as api:
            assert api.get("/v1/brands/openapitest").json()["state"]["status"] in ("waiting", "ok")
            assert api.get("/v1/ledger").json()["unaccounted"] == 0

        demo.send(signal.SIGINT)
        assert demo.ended() == 0, demo.said()
        assert demo.processes() == {}
        assert "Traceback" not in demo.said()


def test_a_port_that_is_taken_is_told_and_another_one_used() -> None:
    with machine() as demo, socket.create_server(("127.0.0.1", demo.port)):
        demo.start("demo", "--verbose")
        demo.until(lambda: any("Webhooks as they arrive" in line for line in demo.out))
        assert f"port {demo.port} is taken: using " in "\n".join(demo.out)
        demo.send(signal.SIGTERM)
        assert demo.ended() == 0, demo.said()
        assert demo.processes() == {}
