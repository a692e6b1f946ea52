"""A real Prometheus for a test: what it scrapes, which rules it evaluates, and what it is asked; no test."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Without the machine's proxy."""


class Prometheus:
    """One that runs."""

    def __init__(self, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1"
        self._process = process
        self._log = log

    def query(self, expr: str) -> list[Any]:
        """The result of an instant query.

        Raises:
            AssertionError: it refuses the expression, or has ended.
            OSError: it does not answer yet.
        """
        try:
            result: list[Any] = self._ask("query?" + urllib.parse.urlencode({"query": expr}))["result"]
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.SERVICE_UNAVAILABLE:
                raise
            raise AssertionError(f"{expr}: {error.read().decode()}") from error
        return result

    def alerts(self) -> dict[tuple[str, ...], dict[str, Any]]:
        """Alerts that fire, by their name and what they are about (a subscription, a brand, a queue)."""
        found = {}
        for alert in self._ask("alerts")["alerts"]:
            labels = alert["labels"]
            about = [labels[each] for each in ("subscription", "brand", "queue") if each in labels]
            if alert["state"] == "firing":
                found[labels["alertname"], *about] = alert
        return found

    def until(self, expr: str, *, timeout_s: float = 60) -> None:
        """Wait until a query has a result."""
        deadline = time.monotonic() + timeout_s
        while not self._answers(expr):
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, f"{expr}: nothing\n{self._log.read_text()}"
            time.sleep(0.1)

    def _answers(self, expr: str) -> bool:
        try:
            return bool(self.query(expr))
        except OSError:
            return False

    def _ask(self, what: str) -> Any:
        with DIRECT.open(f"{self._url}/{what}", timeout=5) as response:
            return json.load(response)["data"]


@contextlib.contextmanager
def running_prometheus(
    program: str, folder: Path, *, targets: Sequence[str], rules: Sequence[Path] = ()
) -> Iterator[Prometheus]:
    """One that scrapes and evaluates every second.

    Args:
        targets: host and port of what it scrapes, as the job ``relay``.
        rules: files of rules.
    """
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(path) for path in rules],
        "scrape_configs": [{"job_name": "relay", "static_configs": [{"targets": [*targets]}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as finder:
        port = finder.server_port
    command = [
        program,
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    log = folder / "log"
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            yield Prometheus(port, process, log)
        finally:
            process.terminate()
            process.wait(timeout=20)
