"""Is the image made of what is locked, and does it fit the chart? (`.ci/image` builds and runs it.)"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml


@pytest.fixture(scope="module")
def stages(root_folder: Path) -> list[str]:
    """The Dockerfile's stages, each with its instructions on one line."""
    text = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", (root_folder / "Dockerfile").read_text(), flags=re.MULTILINE))
    return text.split("FROM ")


def test_the_base_is_an_argument_with_a_named_debian_release(stages: list[str]) -> None:
    (argument,) = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", stages[0], re.MULTILINE)
    assert re.fullmatch(r"\S+:3\.\d+-slim-(bookworm|trixie)", argument)
    assert all(stage.startswith("${PYTHON_IMAGE}") for stage in stages[1:])


def test_everything_installed_is_hashed(stages: list[str]) -> None:
    installs = re.findall(r"pip[^&]* install [^&]*", stages[1])
    assert len(installs) == 3
    assert all("--require-hashes" in each or "--no-index" in each for each in installs)


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-otel.lock", "requirements-build.lock"])
def test_every_line_of_the_lock_is_pinned_and_hashed(root_folder: Path, name: str) -> None:
    text = re.sub(r"\\\n\s*", " ", (root_folder / name).read_text())
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    assert len(lines) > 3
    assert all(re.match(r"[a-z0-9.-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line) for line in lines)


def test_the_lock_holds_every_dependency(root_folder: Path) -> None:
    project = tomllib.loads((root_folder / "pyproject.toml").read_text())["project"]
    wanted = {re.split(r"[^A-Za-z0-9.-]", each)[0].lower() for each in project["dependencies"]}
    for name, more in (("requirements.lock", []), ("requirements-otel.lock", project["optional-dependencies"]["otel"])):
        locked = set(re.findall(r"^([a-z0-9.-]+)==", (root_folder / name).read_text(), re.MULTILINE))
        wanted |= {re.split(r"[^A-Za-z0-9.-]", each)[0].lower() for each in more}
        assert wanted - locked == set()


def test_the_lock_with_traces_differs_in_nothing_else(root_folder: Path) -> None:
    plain, more = (
        set(re.findall(r"^[a-z0-9.-]+==\S+", (root_folder / name).read_text(), re.MULTILINE))
        for name in ("requirements.lock", "requirements-otel.lock")
    )
    assert plain < more


def test_the_last_stage_installs_nothing_and_runs_as_the_chart_does(stages: list[str], chart_folder: Path) -> None:
    last = stages[-1]
    assert not re.search(r"(pip|apt|apt-get)\S* install", last)
    (user,) = re.findall(r"^USER (\d+):(\d+)$", last, re.MULTILINE)
    context = yaml.safe_load((chart_folder / "values.yaml").read_text())["podSecurityContext"]
    assert user == (str(context["runAsUser"]), str(context["runAsGroup"]))
    assert "STOPSIGNAL SIGTERM" in last
    assert 'ENTRYPOINT ["relay"]' in last


def test_only_what_is_named_reaches_the_build(root_folder: Path) -> None:
    lines = [
        line for line in (root_folder / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")
    ]
    assert lines[0] == "*"
    for name in re.findall(r"^!(\S+)$", "\n".join(lines), re.MULTILINE):
        assert (root_folder / name).exists(), name
