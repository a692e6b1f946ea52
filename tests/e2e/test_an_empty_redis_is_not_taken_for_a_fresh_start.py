from __future__ import annotations

import shutil
import signal

from tests.e2e.machines import machine

BRAND = {
    "brand": "openapitest",
    "client_id": "demo-client",
    "client_secret": "demo-secret",
    "integrator_id": "demo-integrator",
    "clopos_url": "http://127.0.0.1:1/",
}


def test_up_refuses_to_start_on_a_redis_that_lost_everything_until_somebody_decides() -> None:
    with machine() as up:
        up.start("up")
        up.until_ready()
        with up.api() as api:
            assert api.post("/v1/brands", json=BRAND).status_code == 201
        remembered = up.data_dir / "installation"
        up.until(remembered.exists, timeout_s=30)
        up.send(signal.SIGTERM)
        assert up.ended() == 0

        shutil.rmtree(up.data_dir / "redis" / "appendonlydir")
        up.start("up")
        assert up.ended(timeout_s=30) == 2, up.said()
        assert f"Redis is empty, but {up.data_dir} remembers" in up.said()
        assert f"remove {remembered}" in up.said()
        assert up.processes() == {}

        remembered.unlink()
        up.start("up")
        up.until_ready()
        with up.api() as api:
            assert api.get("/v1/brands").json()["data"] == []
