"""How soon after `relay demo` was started do verified webhooks come?

    python bench/demo.py [--json FILE]

Starts it as a user would, on a machine where it is installed, and reads what it prints.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.figures import Figure, conclude, parser
from tests.e2e.machines import machine
from tests.e2e.test_the_demo_shows_verified_webhooks_within_seconds import types_of

BENCH = "demo"
TYPES = 2
MOST_S = 15


def measure() -> list[Figure]:
    with machine() as demo:
        began_s = time.monotonic()
        demo.start("demo")
        demo.until(lambda: types_of(demo.out))
        first_s = time.monotonic() - began_s
        demo.until(lambda: len(types_of(demo.out)) >= TYPES)
        several_s = time.monotonic() - began_s
        stopped_s = time.monotonic()
        demo.send(signal.SIGINT)
        demo.ended()
        ended_s = time.monotonic() - stopped_s
    return [
        Figure(BENCH, "started → first verified webhook", first_s, "s", most=MOST_S),
        Figure(BENCH, f"started → verified webhooks of {TYPES} types", several_s, "s", most=MOST_S),
        Figure(BENCH, "Ctrl-C → ended", ended_s, "s", most=MOST_S),
    ]


def main() -> int:
    return conclude(measure(), parser(__doc__).parse_args().json)


if __name__ == "__main__":
    sys.exit(main())
