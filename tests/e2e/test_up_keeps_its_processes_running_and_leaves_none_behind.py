import os
import signal
from collections.abc import Iterator

import pytest

from tests.e2e.machines import Machine, machine

ROLES = {
    "redis": r"(redis|valkey)-server",
    "api": r"relay\.cli api",
    "scheduler": r"relay\.cli scheduler",
    "worker": r"relay\.cli worker --queues deliver",
}
BRAND = {
    "brand": "openapitest",
    "client_id": "demo-client",
    "client_secret": "demo-secret",
    "integrator_id": "demo-integrator",
    "clopos_url": "http://127.0.0.1:1/",
}


@pytest.fixture
def up() -> Iterator[Machine]:
    with machine() as up:
        up.start("up")
        up.until_ready()
        yield up


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_to_stop_ends_all_of_it(up: Machine, number: signal.Signals) -> None:
    assert len(up.processes()) == 1 + 1 + 2 + 3  # itself, Redis, API and scheduler, a worker for each queue
    up.send(number)
    up.send(number)  # as `timeout` and some terminals do
    assert up.ended() == 0, up.said()
    assert up.processes() == {}
    assert "killed" not in up.said()
    assert up.out == []  # there is no data to print: what it says are messages
    assert "Traceback" not in up.said()


def test_a_request_to_stop_while_it_starts_ends_all_of_it() -> None:
    with machine() as up:
        up.start("up")
        up.until(lambda: len(up.processes()) > 2)
        up.send(signal.SIGTERM)
        assert up.ended() == 0, up.said()
        assert up.processes() == {}


def test_killing_it_takes_all_of_it_along_and_the_next_one_goes_on(up: Machine) -> None:
    with up.api() as api:
        assert api.post("/v1/brands", json=BRAND).status_code == 201
    up.send(signal.SIGKILL)
    up.ended()
    up.until(lambda: not up.processes(), timeout_s=20)
    up.start("up")
    up.until_ready()
    with up.api() as api:
        assert api.get("/v1/brands/openapitest").status_code == 200


@pytest.mark.parametrize("role", ROLES)
def test_a_process_that_is_killed_is_started_again_and_that_is_said(up: Machine, role: str) -> None:
    pid = up.pid_of(ROLES[role])
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    up.until(lambda: any('"process ended"' in line and role in line and "SIGKILL" in line for line in up.err))
    up.until(lambda: pid not in up.processes() and up.pid_of(ROLES[role]))

    def answers() -> bool:
        with up.api() as api:
            return api.get("/readyz").status_code == 200

    up.until(answers) if role != "api" else up.until_ready()


def test_a_second_one_on_the_same_directory_is_refused(up: Machine) -> None:
    with machine() as second:
        second.start("up", RELAY_DATA_DIR=str(up.data_dir))
        assert second.ended() == 1, second.said()
        assert "another relay runs on" in second.said()
        assert second.processes() == {}
    assert up.pid_of(ROLES["api"])


def test_a_port_that_is_taken_is_told(up: Machine) -> None:
    with machine() as second:
        second.start("up", RELAY_PORT=str(up.port))
        assert second.ended() == 1, second.said()
        assert f"cannot listen on 127.0.0.1 port {up.port}" in second.said()
        assert "RELAY_PORT" in second.said()
