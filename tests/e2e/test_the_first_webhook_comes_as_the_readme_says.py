"""The README's five minutes, typed as they stand there; only the ports are free ones."""

import contextlib
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.machines import Machine, free_port, machine

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("\n## Five minutes to your first webhook\n")[2].partition("\n## ")[0]
STAND_IN = "http://127.0.0.1:8090/open-api/v2"
SECRET = re.compile(r"its secret, shown this once: (whsec_\S+)")


@pytest.fixture
def relay() -> Iterator[Machine]:
    with machine() as relay:
        yield relay


def _block(kind: str, about: str) -> str:
    """The block of the section that is of a kind and speaks of something."""
    (found,) = [text for text in re.findall(rf"```{kind}\n(.*?)```", SECTION, re.DOTALL) if about in text]
    return str(found)


@contextlib.contextmanager
def _killed(process: "subprocess.Popen[str]") -> Iterator["subprocess.Popen[str]"]:
    """Killed at the end, and a minute from now at the latest: what it prints ends then."""
    end = threading.Timer(60, process.kill)
    end.start()
    try:
        with process:
            try:
                yield process
            finally:
                process.kill()
    finally:
        end.cancel()


def test_from_nothing_to_a_webhook_that_verifies(relay: Machine, tmp_path: Path) -> None:
    _, *words = _block("sh", "relay sandbox").split()
    with _killed(relay.popen(*words, "--port", "0", folder=tmp_path)) as sandbox:
        assert sandbox.stdout is not None
        url = sandbox.stdout.readline().split()[-1]
        *settings, _, up = _block("sh", "relay up").split()
        relay.start(up, **dict(setting.split("=", 1) for setting in settings))
        relay.until_ready()

        port = free_port()
        file = _block("yaml", "brands:").replace(STAND_IN, url).replace(":9000/", f":{port}/")
        (tmp_path / "relay.yaml").write_text(file)
        typed = _block("console", "relay apply")
        assert typed.startswith("$ CLOPOS_SECRET=demo-secret relay apply relay.yaml\n")
        applied = relay.run("apply", "relay.yaml", folder=tmp_path, CLOPOS_SECRET="demo-secret")
        assert applied.returncode == 0, applied.stderr
        told = SECRET.sub("", applied.stdout).replace(f":{port}/", ":9000/").replace(url, STAND_IN)
        assert told + applied.stderr == SECRET.sub("", typed.split("$ ")[1].partition("\n")[2])
        checked = relay.run("check", folder=tmp_path)
        assert checked.stdout.endswith("  all well\n"), checked.stderr

        (secret,) = SECRET.findall(applied.stdout)
        command = _block("console", "receiver.py").splitlines()[0]
        assert command.split()[1].startswith("WEBHOOK_SECRET=whsec_")
        receiving = subprocess.Popen(
            [sys.executable, ROOT / command.split()[-1]],
            env={"WEBHOOK_SECRET": secret, "PORT": str(port), "FOLDER": str(tmp_path / "webhooks")},
            stdout=subprocess.PIPE,
            text=True,
        )
        with _killed(receiving) as receiver:
            assert receiver.stdout is not None
            assert receiver.stdout.readline() == f"listening on {port}\n"
            assert re.match(r"took order\.\w+ evt_\w+\n", receiver.stdout.readline()), relay.said()
