import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.machines import Machine, machine

FILE = """
brands:
  - brand: openapitest
    client_id: demo-client
    client_secret: {env: CLOPOS_SECRET}
    integrator_id: demo-integrator
    currency: AZN
subscriptions:
  - name: demo
    event_types: ["*"]
  - name: courier
    url: https://courier.example/hooks
    event_types: ["order.*"]
    max_age: 600s
    headers: {x-courier: {file: courier.key}}
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def demo() -> Iterator[Machine]:
    with machine() as demo:
        demo.start("demo", "--verbose")
        demo.until(lambda: sum("verified" in line for line in demo.out) > 3)
        yield demo


@pytest.fixture
def run(demo: Machine, tmp_path: Path) -> Run:
    for name, enabled in (("paused.yaml", "false"), ("on.yaml", "true")):
        (tmp_path / name).write_text(f"subscriptions:\n  - {{name: demo, enabled: {enabled}}}\n")

    def run(*words: str, code: int = 0, **environ: str) -> "subprocess.CompletedProcess[str]":
        done = demo.run(*words, folder=tmp_path, **environ)
        assert done.returncode == code, (words, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done

    return run


def _json(run: Run, *words: str) -> Any:
    return json.loads(run(*words, "--json").stdout)


def test_brands_and_subscriptions_are_shown_for_people_and_for_programs(run: Run) -> None:
    assert "openapitest" in run("brands").stdout
    (brand,) = _json(run, "brands")
    assert brand == {**_json(run, "brands", "openapitest"), "state": brand["state"]}
    names = [row["name"] for row in _json(run, "subscriptions")]
    assert "demo" in names
    assert json.loads(run("subscriptions", "demo").stdout)["name"] == "demo"


def test_what_brands_and_subscriptions_do_is_followed(demo: Machine, run: Run) -> None:
    with (
        demo.popen("brands", "--follow", folder=None) as brands,
        demo.popen("subscriptions", "demo", "--follow", "--json", folder=None) as subscriptions,
    ):
        assert brands.stdout is not None
        assert subscriptions.stdout is not None
        assert [brands.stdout.readline().split()[0] for _ in range(2)] == ["BRAND", "openapitest"]
        assert json.loads(subscriptions.stdout.readline())["state"]["status"] == "active"
        run("apply", "paused.yaml", CLOPOS_SECRET="demo-secret")
        found = ""
        while found != "disabled":
            found = json.loads(subscriptions.stdout.readline())["state"]["status"]
        run("apply", "on.yaml", CLOPOS_SECRET="demo-secret")
        while found != "active":
            found = json.loads(subscriptions.stdout.readline())["state"]["status"]
        brands.terminate()
        subscriptions.terminate()


def test_events_are_shown_the_latest_last_and_one_whole_with_its_deliveries(run: Run) -> None:
    events = _json(run, "events", "--limit", "3", "--type", "order.*", "--since", "10m")
    assert len(events) == 3
    assert [event["timestamp"] for event in events] == sorted(event["timestamp"] for event in events)
    whole = json.loads(run("events", events[0]["id"]).stdout)
    assert [delivery["event"] for delivery in whole["deliveries"]] == [events[0]["id"]]
    assert events[0]["subject"] in run("events", "--subject", events[0]["subject"]).stdout


def test_events_are_followed_as_they_come(demo: Machine) -> None:
    with demo.popen("events", "--follow", "--limit", "1", "--json", folder=None) as process:
        assert process.stdout is not None
        found = [json.loads(process.stdout.readline())["id"] for _ in range(4)]
        process.terminate()
    assert len(set(found)) == 4


def test_deliveries_are_shown_and_one_whole_with_its_attempts(run: Run) -> None:
    (delivery,) = _json(run, "deliveries", "--subscription", "demo", "--status", "delivered", "--limit", "1")
    whole = json.loads(run("deliveries", delivery["id"]).stdout)
    assert [attempt["status_code"] for attempt in whole["attempts"]] == [200]
    assert _json(run, "dead") == []
    table = run("deliveries", "--limit", "1").stdout.splitlines()
    assert table[1][table[0].index("SUBSCRIPTION") :].split()[0] == "demo"


def test_a_replay_sends_once_more_and_is_waited_for(run: Run, demo: Machine) -> None:
    (event,) = _json(run, "events", "--limit", "1", "--type", "order.*")
    done = _json(run, "replay", "demo", "--event", event["id"], "--wait")
    assert (done["status"], done["queued"]) == ("done", 1)
    demo.until(lambda: any("again" in line for line in demo.out))


def test_a_name_that_is_not_quite_right_is_told(run: Run) -> None:
    assert "did you mean 'demo'?" in run("replay", "dmo", code=1).stderr
    assert "404" in run("brands", "openapi", code=1).stderr
    assert "did you mean" in run("events", "--type", "order.creatd", code=1).stderr


def test_a_token_that_is_wrong_is_told(run: Run) -> None:
    assert "set RELAY_TOKEN" in run("brands", code=1, RELAY_TOKEN="x" * 32).stderr


def test_clopos_is_checked_beside_the_running_relay(run: Run) -> None:
    assert "all well" in run("check").stdout
    (finding,) = _json(run, "check", "openapitest")
    assert finding["problems"] == []
    assert [venue["id"] for venue in finding["venues"]] == [1, 2]


def test_secrets_are_sealed_anew_beside_the_running_relay(run: Run) -> None:
    done = _json(run, "rekey")
    assert (done["brands"], done["lost"]) == (1, [])


def test_a_file_is_applied_until_there_is_no_difference(run: Run, tmp_path: Path) -> None:
    (tmp_path / "relay.yaml").write_text(FILE)
    (tmp_path / "courier.key").write_text("k1\n")

    def applied(*words: str) -> dict[str, str]:
        rows = json.loads(run("apply", "relay.yaml", *words, "--json", CLOPOS_SECRET="demo-secret").stdout)
        return {row["name"]: row["action"] for row in rows}

    assert applied("--dry-run") == {"openapitest": "keep", "demo": "keep", "courier": "create"}
    assert applied() == {"openapitest": "keep", "demo": "keep", "courier": "create"}
    assert applied() == {"openapitest": "keep", "demo": "keep", "courier": "keep"}
    (tmp_path / "courier.key").write_text("k2\n")
    assert applied()["courier"] == "change"
    (tmp_path / "relay.yaml").write_text(FILE.partition("  - name: courier")[0].replace('["*"]', '["*", "relay.*"]'))
    assert applied("--prune") == {"openapitest": "keep", "demo": "change", "courier": "remove"}
    assert [row["name"] for row in _json(run, "subscriptions")] == ["demo"]


def test_a_file_that_the_relay_refuses_names_the_thing_and_every_fault(run: Run, tmp_path: Path) -> None:
    (tmp_path / "relay.yaml").write_text(
        "subscriptions:\n  - {name: courier, url: 'ftp://x', event_types: [order.creatd], secret: {env: NOWHERE}}\n"
    )
    assert "NOWHERE is not set" in run("apply", "relay.yaml", code=1).stderr
    (tmp_path / "relay.yaml").write_text(
        "subscriptions:\n  - {name: courier, url: 'ftp://x', event_types: [order.creatd]}\n"
    )
    said = run("apply", "relay.yaml", code=1).stderr
    assert said.startswith("relay: relay.yaml, line 2: subscriptions, 'courier', event_types.0: Is no event type")
    (tmp_path / "relay.yaml").write_text("subscriptions:\n  - name: courier\n    brands: [nowhere]\n")
    said = run("apply", "relay.yaml", "--dry-run", code=1).stderr
    assert "line 2: subscriptions, 'courier', url: Is missing." in said
    assert "line 2: subscriptions, 'courier', event_types: Is missing." in said
    (tmp_path / "relay.yaml").write_text(
        "subscriptions:\n  - name: courier\n    url: ftp://x\n    event_types: [order.*]\n    brands: [nowhere]\n"
    )
    said = run("apply", "relay.yaml", code=1).stderr
    assert "relay.yaml, line 3: subscriptions, 'courier', url: " in said
    assert "relay.yaml, line 5: subscriptions, 'courier', brands.0: There is no such brand" in said
