"""Does the image run as Kubernetes would run it? Starts every role for real, asks it, and stops it.

Usage: image_roles.py IMAGE

Each container: read-only root, no capabilities, no new rights, a numeric user that is not root (once the image's own,
once one that nobody knows), no HOME, secrets as files. Needs podman and runc, and root.
"""
# ruff: noqa: INP001, T201  a script, not a package: it prints what it did
# ruff: noqa: S603  it runs podman with its own arguments

from __future__ import annotations

import base64
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CHECK: Final = Path(__file__).parent.parent / "helm" / "clopos-relay" / "files" / "installation.py"
"""What `helm test` runs."""

GRACE_S: Final = 30
"""The chart's grace time of a worker with the default attempt timeout."""

SPARE_S: Final = 5
"""How much earlier than that everything has to be over."""

PODMAN: Final = ("podman", "--storage-driver", "vfs", "--runtime", "runc")
CONFINED: Final = (
    *("--network", "host", "--read-only", "--read-only-tmpfs=false", "--cap-drop", "all"),
    *("--security-opt", "no-new-privileges", "--unsetenv", "HOME"),
    *("--tmpfs", "/tmp:rw,mode=1777,size=64m", "--tmpfs", "/data:rw,mode=1777,size=64m"),  # noqa: S108  in the container
    *("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"),
)
FORBIDDEN: Final = """
command -v gcc cc make pip pip3 git curl
find / -xdev -type f -perm /6000 2>/dev/null
find /opt/relay -user 10001 2>/dev/null | head -n 1
ls /opt/relay/lib/python3*/site-packages | grep -E '^(pip|setuptools|hatchling)$'
touch /opt/relay/written 2>/dev/null && echo /opt/relay can be written to
true
"""
"""Prints what must not be in the image."""

DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ImageFault(Exception):  # noqa: N818  it names the fault
    """The image does not do what the chart relies on."""


@dataclass(frozen=True, slots=True)
class Container:
    """One that runs.

    Attributes:
        role: what it is, for people.
        stops_in_s: within how long it has to end after SIGTERM.
    """

    name: str
    role: str
    stops_in_s: float = GRACE_S - SPARE_S


def podman(*arguments: str, check: bool = True) -> str:
    """Standard output of one call."""
    result = subprocess.run([*PODMAN, *arguments], capture_output=True, text=True, check=False, timeout=120)
    if check and result.returncode != 0:
        raise ImageFault(f"podman {' '.join(arguments)}: {result.stdout}{result.stderr}")
    return result.stdout.strip()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        port: int = each.getsockname()[1]
    return port


@contextmanager
def running(image: str, role: str, *arguments: str, options: tuple[str, ...]) -> Iterator[Container]:
    """A container that is there as long as the block."""
    container = Container(name=f"relay-image-{os.getpid()}-{secrets.token_hex(4)}", role=role)
    podman("run", "--detach", "--name", container.name, *CONFINED, *options, image, *arguments)
    try:
        yield container
    finally:
        podman("rm", "--force", "--time", "0", container.name, check=False)


def wait_until(what: str, done: object, containers: list[Container], *, within_s: float = 60) -> None:
    """Ask again and again; a container that has ended ends the waiting."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            if callable(done) and done():
                return
        except OSError:
            pass
        for each in containers:
            if podman("inspect", "--format", "{{.State.Running}}", each.name) != "true":
                raise ImageFault(f"{each.role} has ended while waiting for {what}:\n{logs(each)}")
        if time.monotonic() > deadline:
            raise ImageFault(f"{what}: not within {within_s:.0f} s\n" + "\n".join(map(logs, containers)))
        time.sleep(0.25)


def logs(container: Container) -> str:
    """The last of what it said."""
    result = subprocess.run(
        [*PODMAN, "logs", "--tail", "15", container.name], capture_output=True, text=True, check=False
    )
    return f"--- {container.role}\n{result.stdout}{result.stderr}"


def answers(url: str) -> bool:
    """Whether it answers 200."""
    with DIRECT.open(url, timeout=3) as response:
        return bool(response.status == 200)  # noqa: PLR2004  HTTP's own number


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


def stop(container: Container) -> float:
    """Send SIGTERM and see it end in good time and order."""
    began = time.monotonic()
    podman("stop", "--time", str(GRACE_S), container.name)
    took_s = time.monotonic() - began
    code = podman("inspect", "--format", "{{.State.ExitCode}}", container.name)
    if code != "0" or took_s > container.stops_in_s:
        raise ImageFault(f"{container.role} ended with {code} after {took_s:.1f} s of SIGTERM:\n{logs(container)}")
    return took_s


def run_roles(image: str, user: str) -> None:
    """Run every role beside a Redis, all in containers of this image."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis_port, api_port = free_port(), free_port()
        token = secrets.token_urlsafe(32)
        for name, value in {
            "admin-token": token,
            "secret-keys": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "redis-url": f"redis://127.0.0.1:{redis_port}/0",
        }.items():
            (folder / name).write_text(value, encoding="utf-8")
            (folder / name).chmod(0o444)
        folder.chmod(0o755)
        mount = "/run/secrets/clopos-relay"
        options = (
            *("--user", user, "--volume", f"{folder}:{mount}:ro"),
            *(
                "--env",
                f"RELAY_SECRET_KEYS_FILE={mount}/secret-keys",
                "--env",
                f"RELAY_REDIS_URL_FILE={mount}/redis-url",
            ),
            *("--env", f"RELAY_PORT={api_port}", "--env", f"RELAY_ADMIN_TOKEN_FILE={mount}/admin-token"),
        )
        server = podman(
            "run", "--rm", *CONFINED, "--entrypoint", "sh", image, "-c", "find /opt/relay -name valkey-server -type f"
        )
        durable = ("--port", str(redis_port), "--bind", "127.0.0.1", "--appendonly", "yes", "--dir", "/data")
        server_options = ("--user", user, "--entrypoint", server)
        redis = stack.enter_context(running(image, "redis", *durable, options=server_options))
        wait_until("Redis", lambda: listens(redis_port), [redis])
        api, scheduler, *workers = (
            stack.enter_context(running(image, " ".join(role), *role, options=options))
            for role in (
                ("api",),
                ("scheduler",),
                *(("worker", f"--queues={queue}", "--processes=1") for queue in ("poll", "deliver", "maintain")),
            )
        )
        everybody = [api, scheduler, *workers]
        wait_until("/livez", lambda: answers(f"http://127.0.0.1:{api_port}/livez"), everybody)
        wait_until("/readyz", lambda: answers(f"http://127.0.0.1:{api_port}/readyz"), everybody)
        for each in (scheduler, *workers):
            role = "scheduler" if each is scheduler else "worker"
            wait_until(f"relay health {role}", lambda each=each, role=role: healthy(each, role), everybody)
        helm_test(image, mount, folder, api_port)
        print(f"user {user}: {', '.join(each.role for each in everybody)}: ready, healthy, `helm test` would pass")
        for each in reversed(everybody):
            print(f"  {each.role}: ends by SIGTERM with 0 after {stop(each):.1f} s")


def healthy(container: Container, role: str) -> bool:
    """What the probe says."""
    result = subprocess.run(
        [*PODMAN, "exec", container.name, "relay", "health", role], capture_output=True, text=True, check=False
    )
    return result.returncode == 0


def helm_test(image: str, mount: str, folder: Path, port: int) -> None:
    """Run what `helm test` runs."""
    command = [
        *PODMAN, "run", "--rm", *CONFINED, "--volume", f"{folder}:{mount}:ro", "--env", f"RELAY_URL=http://127.0.0.1:{port}",
        "--env", f"RELAY_TOKEN_FILE={mount}/admin-token", "--env", "PATIENCE_S=60", "--entrypoint", "python", image,
        "-c", CHECK.read_text(encoding="utf-8"),
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if result.returncode != 0:
        raise ImageFault(f"helm test would fail: {result.stdout}{result.stderr}")


def look_inside(image: str) -> None:
    """What must not be in it, and what it must say of itself."""
    config = json.loads(podman("inspect", image))[0]["Config"]
    user = config["User"].partition(":")[0]
    if not user.isdigit() or user == "0" or config.get("StopSignal") not in ("SIGTERM", "15", ""):
        raise ImageFault(f"user {config['User']!r}, stop signal {config.get('StopSignal')!r}")
    if not {"org.opencontainers.image.title", "org.opencontainers.image.version"} <= config["Labels"].keys():
        raise ImageFault(f"labels: {config['Labels']}")
    found = podman("run", "--rm", *CONFINED, "--entrypoint", "sh", image, "-c", FORBIDDEN)
    if found:
        raise ImageFault(f"there is what should not be: {found}")
    size = int(podman("inspect", "--format", "{{.Size}}", image))
    print(f"user {config['User']}, no compiler, no installer, no setuid file; {size / 1e6:.0f} MB unpacked")


def main(arguments: list[str]) -> int:
    """Judge one image."""
    (image,) = arguments
    try:
        look_inside(image)
        for user in ("10001:10001", "1234567:7654321"):
            run_roles(image, user)
    except ImageFault as fault:
        print(fault, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
