"""Does the pod of `helm test` tell an installation that works from one that does not?"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

WELL = {
    "/livez": (200, "ok"),
    "/readyz": (200, "ok"),
    "/v1/brands?limit=1": (200, '{"data": [], "next_cursor": null}'),
    "/metrics": (
        200,
        "".join(
            f'relay_workers{{queue="{queue}"}} {number}.0\n'
            for number, queue in enumerate(("poll", "deliver", "maintain"), 1)
        ),
    ),
}
TOKENS = {"/v1/brands?limit=1": "made-up-admin", "/metrics": "made-up-metrics"}


@contextmanager
def api(answers: dict[str, tuple[int, str]]) -> Iterator[str]:
    """An API that answers so, to those who bring the right token."""

    class Handler(BaseHTTPRequestHandler):
        """Answers by path."""

        def do_GET(self) -> None:
            status, body = answers.get(self.path, (404, ""))
            wanted = TOKENS.get(self.path)
            if wanted and self.headers["authorization"] != f"Bearer {wanted}":
                status, body = 401, ""
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def run(
    chart_folder: Path, tmp_path: Path, url: str, *, token: str = "made-up-admin"
) -> subprocess.CompletedProcess[str]:
    (tmp_path / "token").write_text(token + "\n")
    (tmp_path / "metrics").write_text("made-up-metrics\n")
    environ = {
        "RELAY_URL": url,
        "RELAY_TOKEN_FILE": str(tmp_path / "token"),
        "RELAY_METRICS_TOKEN_FILE": str(tmp_path / "metrics"),
        "PATIENCE_S": "0",
        "PATH": os.environ["PATH"],
        "no_proxy": "127.0.0.1",
    }
    code = (chart_folder / "files" / "installation.py").read_text()
    return subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False, timeout=30
    )


def test_one_that_works_passes(chart_folder: Path, tmp_path: Path) -> None:
    with api(WELL) as url:
        result = run(chart_folder, tmp_path, url)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"/livez": (500, "")}, "the API does not run"),
        ({"/readyz": (503, "")}, "the API cannot use Redis"),
        ({"/v1/brands?limit=1": (401, "")}, "the API does not take the admin token"),
        ({"/metrics": (500, "")}, "no metrics"),
        (
            {"/metrics": (200, 'relay_workers{queue="poll"} 1\nrelay_workers{queue="deliver"} 0\n')},
            "no worker serves the queue deliver\nno worker serves the queue maintain",
        ),
    ],
)
def test_one_that_does_not_fails_with_the_reason(
    chart_folder: Path, tmp_path: Path, change: dict[str, tuple[int, str]], sentence: str
) -> None:
    with api(WELL | change) as url:
        result = run(chart_folder, tmp_path, url)
    assert result.returncode == 1
    assert sentence in result.stderr


def test_nothing_there_is_said_too_and_no_token_is_shown(chart_folder: Path, tmp_path: Path) -> None:
    with api(WELL) as url:
        pass
    gone = run(chart_folder, tmp_path, url)
    assert "the API does not run" in gone.stderr
    with api(WELL) as url:
        wrong = run(chart_folder, tmp_path, url, token="made-up-wrong")
    assert wrong.returncode == 1
    assert "made-up" not in wrong.stdout + wrong.stderr
