"""What the chart's tests may ask for: the real Helm and its companions, and the chart rendered for given values."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "clopos-relay"
TOOLS = Path(os.environ.get("CHART_TOOLS") or Path.home() / ".cache" / "clopos-relay" / "chart-tools")
"""Where `.ci/chart` puts what it installs."""

VALKEY_TEMPLATE = """
apiVersion: v1
kind: Service
metadata:
  name: {{ if contains "valkey" .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-valkey{{ end }}
  labels: {app.kubernetes.io/name: valkey, app.kubernetes.io/instance: {{ .Release.Name }}}
  annotations: {stands-in-for: "{{ .Chart.Name }} {{ .Chart.Version }}"}
spec:
  selector: {app.kubernetes.io/name: valkey, app.kubernetes.io/instance: {{ .Release.Name }}}
  ports: [{name: tcp, port: {{ .Values.service.port }}}]
"""
"""Of the Valkey chart, which a test cannot download, only its Service: the name and port that the relay is sent to."""


class HelmError(RuntimeError):
    """Helm said no; the text is what it said."""


def require(reason: str) -> None:
    """Skip where somebody works, fail where nobody would notice."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """The path of a program, by name; without it the test is skipped, or under CI=true fails."""

    def find(name: str) -> str:
        found = shutil.which(name, path=f"{os.environ['PATH']}:{TOOLS / 'bin'}")
        if found is None:
            require(f"{name} is not installed: run .ci/chart once")
        assert found is not None
        return found

    return find


@pytest.fixture(scope="session")
def kubernetes_schemas() -> Path:
    """A folder with a folder of JSON Schemas for each Kubernetes version, and one, `crd`, for those of operators."""
    folder = TOOLS / "schemas"
    if not (folder / "crd").is_dir():
        require("no Kubernetes schemas: run .ci/chart once")
    return folder


class Helm:
    """The real Helm, with a copy of the chart whose dependency is a stand-in."""

    def __init__(self, program: str, chart: Path) -> None:
        self._program = program
        self._chart = chart

    def template(
        self,
        values: dict[str, Any] | None = None,
        *,
        files: tuple[Path, ...] = (),
        release: str = "r",
        options: tuple[str, ...] = (),
    ) -> list[dict[str, Any]]:
        """The objects that an installation makes, hooks included.

        Raises:
            HelmError: it refused.
        """
        command = ["template", release, str(self._chart), "--namespace", "relay", "--values", "-"]
        for file in files:
            command += ["--values", str(file)]
        text = self.run(*command, *options, values=values or {})
        return [each for each in yaml.safe_load_all(text) if each]

    def lint(self, values: dict[str, Any] | None = None, *, files: tuple[Path, ...] = ()) -> str:
        """What `helm lint --strict` prints.

        Raises:
            HelmError: it found a fault.
        """
        command = ["lint", "--strict", str(self._chart), "--values", "-"]
        for file in files:
            command += ["--values", str(file)]
        return self.run(*command, values=values or {})

    def notes(self, values: dict[str, Any]) -> str:
        """What an installation prints."""
        command = ("install", "r", str(self._chart), "--namespace", "relay", "--dry-run=client", "--values", "-")
        return self.run(*command, values=values).partition("NOTES:")[2]

    def run(self, *arguments: str, values: dict[str, Any]) -> str:
        """Standard output of one call.

        Raises:
            HelmError: it failed.
        """
        result = subprocess.run(
            [self._program, *arguments],
            input=yaml.safe_dump(values),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if result.returncode != 0:
            raise HelmError(result.stdout + result.stderr)
        return result.stdout


@pytest.fixture(scope="session")
def helm(tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Helm on the chart as it is, with a stand-in for the Valkey chart."""
    program = tool("helm")
    chart = tmp_path_factory.mktemp("chart") / CHART.name
    shutil.copytree(CHART, chart, ignore=shutil.ignore_patterns("charts", "*.lock"))
    dependency = yaml.safe_load((CHART / "Chart.yaml").read_text())["dependencies"][0]
    valkey = chart / "charts" / "valkey"
    (valkey / "templates").mkdir(parents=True)
    (valkey / "Chart.yaml").write_text(f"apiVersion: v2\nname: valkey\nversion: {dependency['version']}\n")
    (valkey / "values.yaml").write_text("service: {port: 6379}\n")
    (valkey / "templates" / "service.yaml").write_text(VALKEY_TEMPLATE)
    return Helm(program, chart)


@pytest.fixture
def enough() -> dict[str, Any]:
    """The fewest values that can be installed."""
    return {
        "image": {"repository": "registry.example/clopos-relay"},
        "secrets": {"existingSecret": "relay"},
        "redis": {"url": "redis://redis.example:6379/0"},
    }


@pytest.fixture(scope="session")
def chart_folder() -> Path:
    return CHART


@pytest.fixture(scope="session")
def root_folder() -> Path:
    return ROOT
