import re
import signal
import socket
import time

from tests.e2e.machines import machine

TYPES = re.compile(r"\b((?:order|station|venue)\.[a-z_]+)\b.*\bverified\b")


def test_the_demo_shows_verified_webhooks_within_seconds_and_stops_cleanly() -> None:
    with machine() as demo:
        started_s = time.monotonic()
        demo.start("demo", "--verbose")

        def types() -> set[str]:
            return {found[1] for line in demo.out if (found := TYPES.search(line))}

        demo.until(lambda: len(types()) >= 2, timeout_s=40)
        took_s = time.monotonic() - started_s
        printed = "\n".join(demo.out)
        for word in (demo.url, demo.token, "/docs", "/ui", "curl -H", "/control"):
            assert word in printed, demo.said()
        assert "REFUSED" not in printed
        assert took_s < 30, demo.said()  # some 8 s on an idle machine

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
