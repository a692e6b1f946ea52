import asyncio
import json
import os
import re
import resource
import shlex
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import httpx2 as httpx
import pytest
import trustme
from click.testing import CliRunner, Result
from cryptography.fernet import Fernet
from redis.asyncio import Redis
from standardwebhooks import Webhook

from relay.cli import main
from relay.core.signing import new_secret
from relay.store.brands import Brand, BrandStore
from relay.store.documents import Write
from relay.store.scripts import Scripts
from relay.store.vault import Vault

Run = Callable[..., Result]
KEY = Fernet.generate_key().decode()
COMMANDS = main.list_commands(click.Context(main))


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("RELAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run() -> Run:
    def run(*words: str, **environ: str) -> Result:
        return CliRunner().invoke(main, words, env=environ)

    return run


def _start(*words: str, **environ: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "relay.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ["PATH"], **environ},
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(run: Run, command: str) -> None:
    answer = run(command, "--help")
    assert answer.exit_code == 0
    assert answer.stdout.startswith(f"Usage: main {command}")
    assert re.search(r"\n\n  [A-Z]", answer.stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_what_it_is_typed_like_before_its_options(run: Run, tmp_path: Path, command: str) -> None:
    (tmp_path / "relay.yaml").write_text("")
    said = run(command, "--help").stdout
    examples = said.partition("\nExamples:\n")[2].partition("\nOptions:\n")[0]
    typed = re.findall(r"^  relay (.+)$", examples, re.MULTILINE)
    assert typed
    assert typed[0].split()[0] == command
    for line in typed:
        name, *words = shlex.split(line.partition(" > ")[0].replace("whsec_…", new_secret(bytes(32))))
        found = main.get_command(click.Context(main), name)
        assert found is not None
        found.make_context(name, words)  # which refuses what cannot be typed


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("relay bra", "plain,brands\n"),
        ("relay events --fol", "plain,--follow\n"),
        ("relay events --type order.c", "plain,order.created\n"),
        ("relay deliveries --status de", "plain,delivered\nplain,dead\n"),
    ],
)
def test_a_shell_completes_commands_options_and_types(typed: str, offered: str) -> None:
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    with _start(_RELAY_COMPLETE="bash_complete", **words) as process:
        out, _ = process.communicate(timeout=30)
    assert sorted(out.splitlines()) == sorted(offered.splitlines())


def test_the_help_says_how_to_have_a_shell_complete(run: Run) -> None:
    said = run("--help").stdout
    for shell in ("bash", "zsh", "fish"):
        assert f"_RELAY_COMPLETE={shell}_source relay" in said
    with _start(_RELAY_COMPLETE="bash_source") as process:
        out, _ = process.communicate(timeout=30)
    assert "complete -o nosort -F" in out


def test_every_command_that_a_module_has_is_listed(run: Run) -> None:
    run("no-such-command")
    assert sorted(main.commands) == COMMANDS


def test_help_comes_at_once() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with _start("--help") as process:
        out, _ = process.communicate()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "worker" in out
    assert after.ru_utime - before.ru_utime < 1.0  # 0.3 s of work; how long that takes is the machine's affair


def test_the_version_is_the_distributions(run: Run) -> None:
    assert re.fullmatch(r"relay, version \d+\.\d+\.\d+\n", run("--version").stdout)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["wroker"], "Did you mean 'worker'?"),
        (["worker", "--queues", "pol"], "Did you mean 'poll'?"),
        (["worker", "--queue", "poll"], "--queues"),
        (["worker", "--processes", "0"], "1<=x<=64"),
        (["health"], "worker|scheduler"),
        (["health", "api"], "'worker'"),
        (["sandbox", "--scenario", "evning"], "Did you mean 'evening'?"),
        (["sandbox", "--port", "70000"], "65535"),
        (["receive", "--secret", "hunter2"], "must begin with whsec_"),
        (["receive", "--forward", "localhost"], "http://"),
        (["receive", "--status", "99"], "200"),
        (["apply"], "FILE"),
        (["events", "--since", "yesterday"], "neither how long ago"),
        (["events", "--until", "2026-02-02T13:45:53"], "nor a time with its zone"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_right(run: Run, words: list[str], told: str) -> None:
    answer = run(*words)
    assert answer.exit_code == 2
    assert told in answer.stderr
    assert answer.stdout == ""
    assert "Traceback" not in answer.output
    assert "hunter2" not in answer.output


@pytest.mark.parametrize("command", ["api", "scheduler", "worker"])
def test_a_role_without_its_settings_ends_with_2_and_names_them(run: Run, command: str) -> None:
    answer = run(command, RELAY_POLL_INTERVAL="2 seconds")
    assert answer.exit_code == 2
    for name in ("RELAY_REDIS_URL", "RELAY_SECRET_KEYS", "RELAY_POLL_INTERVAL"):
        assert f"relay: {name}" in answer.stderr
    assert answer.stdout == ""


@pytest.mark.parametrize("command", ["up", "demo"])
def test_wrong_settings_stop_a_start_before_anything_runs(run: Run, tmp_path: Path, command: str) -> None:
    answer = run(command, RELAY_PORT="tcp://10.0.0.1:8080")
    assert answer.exit_code == 2
    assert "enableServiceLinks" in answer.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_data_directory_that_cannot_be_used_ends_with_1(run: Run, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    answer = run("up", RELAY_DATA_DIR=str(tmp_path / "taken"))
    assert answer.exit_code == 1
    assert "set RELAY_DATA_DIR" in answer.stderr


@pytest.mark.parametrize("words", [["brands"], ["subscriptions"], ["apply", "relay.yaml"]])
def test_without_a_token_it_is_said_how_to_give_one(run: Run, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "relay.yaml").write_text("brands: []\n")
    answer = run(*words)
    assert answer.exit_code == 2
    assert "RELAY_TOKEN is missing" in answer.stderr


def test_without_a_relay_it_is_said_where_one_was_looked_for(run: Run) -> None:
    answer = run("brands", RELAY_TOKEN="t" * 32, RELAY_URL="http://127.0.0.1:1")
    assert answer.exit_code == 1
    assert "no relay answers at http://127.0.0.1:1" in answer.stderr
    assert "t" * 32 not in answer.output


async def test_http_and_https_mixed_up_are_told(run: Run) -> None:
    authority = trustme.CA()
    over_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(over_tls)

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello\r\n\r\n")
        writer.close()

    for ours, scheme, told in (
        (None, "https", "does not speak TLS"),
        (over_tls, "http", "does not answer in HTTP: is it https://?"),
        (over_tls, "https", "the certificate"),
    ):
        async with await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=ours) as server:
            url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            answer = await asyncio.to_thread(run, "brands", RELAY_TOKEN="t" * 32, RELAY_URL=url)
        assert answer.exit_code == 1
        assert told in answer.stderr


def test_a_variable_that_is_no_setting_is_warned_of_on_stderr(run: Run) -> None:
    answer = run("brands", RELAY_POL_INTERVAL="2s")
    assert "did you mean RELAY_POLL_INTERVAL?" in answer.stderr
    assert "RELAY_TOKEN is missing" in answer.stderr


@pytest.mark.parametrize("command", ["check", "rekey"])
def test_where_no_relay_has_run_there_is_nothing_to_check(run: Run, tmp_path: Path, command: str) -> None:
    answer = run(command, RELAY_SECRET_KEYS=KEY)
    assert answer.exit_code == 1
    assert "set RELAY_REDIS_URL" in answer.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["check", "rekey"])
def test_a_redis_that_is_away_is_told_in_words(run: Run, command: str) -> None:
    answer = run(command, RELAY_SECRET_KEYS=KEY, RELAY_REDIS_URL="redis://:hunter2@127.0.0.1:1/0")
    assert answer.exit_code == 1
    assert answer.stderr == "relay: Redis does not answer.\n"


def test_a_check_of_no_brand_at_all_says_so(run: Run, redis_url: str) -> None:
    environ = {"RELAY_SECRET_KEYS": KEY, "RELAY_REDIS_URL": redis_url}
    answer = run("check", "openapitest", **environ)
    assert answer.exit_code == 1
    assert "no brand 'openapitest' here; there are: none" in answer.stderr
    for words in (["check"], ["check", "--json"]):
        answer = run(*words, **environ)
        assert answer.exit_code == 1  # nothing was found to be well
        assert "`relay apply FILE`" in answer.stderr
        assert answer.stdout == ("[]\n" if "--json" in words else "")


def test_the_schema_of_the_file_to_apply_is_printed_without_a_relay(run: Run) -> None:
    assert json.loads(run("apply", "--schema").stdout)["properties"].keys() == {"brands", "subscriptions"}


async def _seal_a_brand(redis: Redis, key: str) -> None:
    brand = Brand(
        brand="openapitest",
        client_id="demo-client",
        client_secret=Vault([key]).seal("demo-secret"),
        integrator_id="demo-integrator",
        created_at="2026-02-02T13:46:05.120Z",
        updated_at="2026-02-02T13:46:05.120Z",
        generation="1",
    )
    await BrandStore(redis, Scripts(redis)).create("openapitest", Write(brand))


async def test_a_key_that_stored_secrets_need_must_not_go_and_what_needs_it_is_listed(
    redis: Redis, redis_url: str
) -> None:
    await _seal_a_brand(redis, Fernet.generate_key().decode())
    environ = {"RELAY_REDIS_URL": redis_url, "RELAY_SECRET_KEYS": KEY, "RELAY_ADMIN_TOKEN": "t" * 32}
    for words in (["api"], ["worker", "--queues", "poll"]):
        with _start(*words, **environ) as role:
            _, said = await asyncio.to_thread(role.communicate, timeout=30)
        assert role.returncode == 2
        assert "relay: RELAY_SECRET_KEYS does not open the secrets of brand/openapitest" in said
    with _start("rekey", "--forget-lost", **environ) as rekey:
        out, said = await asyncio.to_thread(rekey.communicate, timeout=30)
    assert (rekey.returncode, said) == (0, "given up: brand/openapitest\n")
    assert "sealed anew: 1 brands" in out


@pytest.fixture
def sandbox() -> Iterator["subprocess.Popen[str]"]:
    with _start("sandbox", "--port", "0", "--seed", "7") as process:
        yield process
        process.kill()


def test_the_sandbox_says_where_it_is_and_whom_it_knows(sandbox: "subprocess.Popen[str]") -> None:
    assert sandbox.stdout is not None
    said = "".join(sandbox.stdout.readline() for _ in range(7))
    for word in ("openapitest", "demo-client", "demo-secret", "demo-integrator", "/open-api/v2"):
        assert word in said
    found = re.search(r"http://127\.0\.0\.1:\d+/open-api/v2", said)
    assert found is not None
    credentials = {"client_id": "demo-client", "client_secret": "demo-secret", "brand": "openapitest"}
    answer = httpx.post(f"{found[0]}/auth", json={**credentials, "integrator_id": "demo-integrator"})
    assert answer.json()["success"] is True
    sandbox.send_signal(signal.SIGINT)
    assert sandbox.wait(timeout=20) == 0


def test_a_receiver_verifies_prints_and_ends_in_good_order() -> None:
    secret = new_secret(bytes(range(32)))
    with _start("receive", "--port", "0", "--json", WEBHOOK_SECRET=secret) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stderr.readline())
        assert found is not None
        assert _post(found[0], secret).status_code == 200
        line: dict[str, Any] = json.loads(process.stdout.readline())
        process.terminate()
        assert process.wait(timeout=20) == 0
    assert (line["verified"], line["event"]) == (True, {"type": "relay.test"})


def _post(url: str, secret: str) -> httpx.Response:

    now = datetime.now(UTC)
    body = '{"type":"relay.test"}'
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("evt_1", now, body),
    }
    return httpx.post(url, content=body, headers=headers)


def test_a_port_that_is_taken_is_told_with_the_way_out() -> None:
    with _start("receive", "--port", "0") as first:
        assert first.stderr is not None
        port = first.stderr.readline().partition("127.0.0.1:")[2].partition("/")[0]
        with _start("receive", "--port", port) as second:
            _, said = second.communicate(timeout=20)
            assert second.returncode == 1
            assert "choose another with --port" in said
        first.kill()
