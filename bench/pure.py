"""What do the parts without I/O cost, for each row that is read and each event that is told?

    python bench/pure.py [--seconds 0.2]

The sandbox's order, with everything that was documented, goes through each part again and again in one process. What
counts is processor time in parses of the same row by the JSON library that reads rows (``json``, decimals exact), in
the same run.
"""

from __future__ import annotations

import json
import sys
import time
import timeit
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.figures import Figure, conclude, parser
from relay.clopos.schema import read_page
from relay.core.changes import Feed, compare
from relay.core.drafts import draft
from relay.core.events import committed, render
from relay.core.orders import normalize
from relay.core.packing import pack_static, unpack_static
from relay.core.shaping import Shape, apply_shape
from relay.core.subscriptions import Route, Router
from relay.sandbox.rows import order_text
from relay.sandbox.serve import new_world

BENCH = "pure"
ROUNDS = 9
ROWS = 50
SUBSCRIPTIONS = 1000


def once_s(work: Callable[[], object], seconds: float) -> float:
    """Seconds of the processor for one time: the best of some rounds, which together take so many seconds."""
    timer = timeit.Timer(work, timer=time.process_time)
    number = 1
    while timer.timeit(number) < seconds / ROUNDS:
        number *= 2
    return min(timer.repeat(ROUNDS, number)) / number


def parts(text: str) -> dict[str, tuple[Callable[[], object], float]]:
    """What each part does with one row or its event, and how many parses that should be at most."""
    row = json.loads(text, parse_float=Decimal)
    before = normalize({**row, "status": "READY"}, currency=None)
    change = compare(Feed.ORDERS, before, normalize(row, currency=None))
    assert change is not None
    drafted = draft(
        change,
        brand="openapitest",
        venue_id=1,
        subject="order/1",
        origin="poll",
        previous_id=None,
        raw=text.encode(),
    )
    packed = pack_static(drafted)
    event = committed(drafted, position=7, sequence=7, previous_sequence=None, timestamp_ms=1_770_039_965_120)
    page = f'{{"success":true,"data":[{",".join([text] * ROWS)}],"total":{ROWS}}}'.encode()
    masks = Shape(("customer.phone", "comment"), include_raw=True)
    router = Router([Route(f"s{n}", ("*",), brands=frozenset({f"b{n % 50}"})) for n in range(SUBSCRIPTIONS)])
    return {
        f"a page of {ROWS} rows taken apart and checked": (lambda: read_page(page), ROWS),
        "a row normalized": (lambda: normalize(row, currency=None), 2.5),
        "an event packed": (lambda: pack_static(drafted), 4),
        "an event unpacked": (lambda: unpack_static(packed), 2),
        "an event's body written": (lambda: render(event), 0.5),
        "an event masked, with its row": (lambda: apply_shape(event.data, event.raw, masks), 25),
        f"an event matched with {SUBSCRIPTIONS} subscriptions": (
            lambda: router.match("b3", 1, "order.status_changed"),
            0.25,
        ),
    }


def measure(seconds: float) -> list[Figure]:
    world = new_world(seed=1)
    text = order_text(world.place("openapitest", 1), world.switches)
    decoder = json.JSONDecoder(parse_float=Decimal)
    parse_s = once_s(lambda: decoder.decode(text), seconds)
    figures = [Figure(BENCH, "a row parsed", parse_s * 1e6, "µs")]
    for what, (work, most) in parts(text).items():
        spent_s = once_s(work, seconds)
        figures.append(Figure(BENCH, what, spent_s / parse_s, "parses", most=most))
    return figures


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--seconds", type=float, default=0.5, help="for each part")
    chosen = options.parse_args()
    return conclude(measure(chosen.seconds), chosen.json)


if __name__ == "__main__":
    sys.exit(main())
