"""What does a relay cost that has nothing to do?

    python bench/idle.py [--seconds 330]

API, scheduler and one worker for each queue, on a Redis of their own, without a brand. Counts what Redis executes,
within scripts too. Background tasks come every five minutes: a shorter window misses them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from redis import Redis

sys.path.insert(0, str(Path(__file__).parent.parent))

from relay.supervise.processes import dies_with_parent
from relay.supervise.redis_server import find_redis_server, redis_answers, redis_command

KEY = "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA="
ROLES = (
    ("api",),
    ("scheduler",),
    ("worker", "--queues", "poll"),
    ("worker", "--queues", "deliver"),
    ("worker", "--queues", "maintain"),
)
SETTLED = 4
"""Processes that wait for something in Redis once all have started: three workers and the scheduler."""
STARTED_S = 10
"""And then some, for the first shift of each and what the API does at its start."""


def commands(redis: Redis) -> dict[str, int]:
    stats: dict[str, Any] = redis.info("commandstats")
    return {name.removeprefix("cmdstat_"): int(of["calls"]) for name, of in stats.items()}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seconds", type=int, default=330)
    seconds = arguments.parse_args().seconds
    with tempfile.TemporaryDirectory(prefix="relay-idle-") as folder:
        socket = Path(folder) / "redis.sock"
        settings = {
            "RELAY_REDIS_URL": f"unix://{socket}",
            "RELAY_DATA_DIR": folder,
            "RELAY_PORT": "18099",
            "RELAY_SECRET_KEYS": KEY,
            "RELAY_ADMIN_TOKEN": "made-up-token-of-an-idle-relay-000",
        }
        running = [start(redis_command(find_redis_server(), folder=Path(folder), unix_socket=socket), {})]
        try:
            while not redis_answers(socket):
                time.sleep(0.05)
            running += [start([sys.executable, "-P", "-m", "relay.cli", *role], settings) for role in ROLES]
            redis = Redis.from_url(settings["RELAY_REDIS_URL"])
            while redis.info("clients")["blocked_clients"] < SETTLED:
                time.sleep(0.1)
            time.sleep(STARTED_S)
            redis.config_resetstat()
            time.sleep(seconds)
            counted = commands(redis)
        finally:
            for process in reversed(running):
                process.terminate()
                process.wait(timeout=30)
    for name, calls in sorted(counted.items(), key=lambda each: -each[1]):
        print(f"{name:24} {calls:6} {calls / seconds:8.3f}/s")
    print(f"{'all':24} {sum(counted.values()):6} {sum(counted.values()) / seconds:8.3f}/s")


def start(command: list[str], settings: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        env={**os.environ, **settings},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=dies_with_parent(),  # noqa: PLW1509  no threads that hold locks are running
    )


if __name__ == "__main__":
    main()
