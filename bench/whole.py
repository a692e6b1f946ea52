"""Every bench, one after another: one table, figures in a file for programs and one for the docs, two plots.

    python bench/whole.py [--out bench/out] [latency backlog …]

The one that counts what an idle relay does takes longest and needs next to nothing of the machine: it runs beside the
others. A bench that fails or takes too long costs its own figures.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.figures import Figure, as_json, from_json, markdown, number, parser, table
from bench.stand import HERE, end, start
from relay.supervise.redis_server import find_redis_server

BENCHES: dict[str, tuple[list[str], int]] = {
    "demo": ([], 60),
    "freshness": (["--venues", "10", "40", "--hours", "6"], 60),
    "poll": (["--pages", "20"], 60),
    "pure": ([], 60),
    "send": ([], 60),
    "throughput": ([], 150),
    "latency": (["--seconds", "15"], 60),
    "isolation": (["--seconds", "12"], 90),
    "backlog": ([], 240),
    "scrape": ([], 60),
}
"""Options, and seconds that it may take."""

IDLE_S = 330
ALL_S = 600
BAR, ROW, LEFT, WIDTH = 14, 22, 430, 900


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    server = subprocess.run([find_redis_server(), "--version"], capture_output=True, text=True, check=True).stdout
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30),
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "python": platform.python_version(),
        "server": " ".join(server.split()[:3]),
        "packages": {name: version(name) for name in ("aiohttp", "uvloop", "redis", "hiredis", "msgspec", "orjson")},
    }


def bench(name: str, options: Sequence[str], out: Path, *, limit_s: float) -> list[Figure]:
    """Run one; what it found."""
    file = out / f"{name}.json"
    file.unlink(missing_ok=True)
    began_s = time.monotonic()
    process = start([sys.executable, str(HERE / f"{name}.py"), *options, "--json", str(file)], stderr=None)
    try:
        process.wait(timeout=limit_s)
    except subprocess.TimeoutExpired:
        end(process)
    found = read(name, file)
    print(f"{name}: {time.monotonic() - began_s:.0f} s, {len(found)} figures", flush=True)
    return found


def read(name: str, file: Path) -> list[Figure]:
    """The figures of one bench; one that is not reached where there are none."""
    try:
        return from_json(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return [Figure(name, "ended without figures", 1, most=0)]


def shares(figures: Sequence[Figure]) -> str:
    """A plot of each figure that has a bound, as a share of it: what is left of the line is as it should be."""
    bounded = [each for each in figures if each.reached is not None and (each.most or each.least)]
    rows = []
    for each in bounded:
        share = each.value / each.most if each.most else (each.least or 0) / max(each.value, 1e-9)
        rows.append(
            (f"{each.bench}: {each.what}", share, f"{number(each.value)} {each.unit} ({each.bound})", each.reached)
        )
    return bars("Share of the bound that is used: shorter is better, the line is the bound", rows, line=1.0)


def rates(figures: Sequence[Figure]) -> str:
    """A plot of deliveries a second, beside the bare loop's requests."""
    shown = [each for each in figures if each.bench == "throughput" and each.unit == "/s"]
    rows = [(each.what, each.value, f"{number(each.value)} /s", "delivered" in each.what) for each in shown]
    return bars("A second: requests of the bare loop, and deliveries of one process", rows)


def bars(title: str, rows: Sequence[tuple[str, float, str, bool | None]], *, line: float | None = None) -> str:
    """Bars as SVG."""
    most = max([value for _, value, _, _ in rows] + ([line] if line else []), default=1.0)
    scale = (WIDTH - LEFT - 190) / most
    height = 40 + ROW * len(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif"',
        f' font-size="12"><rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="10" y="20" font-size="14">{escape(title)}</text>',
    ]
    for index, (name, value, shown, good) in enumerate(rows):
        y = 34 + ROW * index
        colour = "#2a7d4f" if good else "#b23b3b" if line else "#8a8f98"
        parts.append(
            f'<text x="{LEFT - 8}" y="{y + 11}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{LEFT}" y="{y}" width="{max(value * scale, 1):.1f}" height="{BAR}" fill="{colour}"/>'
            f'<text x="{LEFT + value * scale + 6:.1f}" y="{y + 11}">{escape(shown)}</text>'
        )
    if line is not None:
        x = LEFT + line * scale
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="28" y2="{height - 6}" stroke="#333" stroke-dasharray="4 3"/>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--out", type=Path, default=HERE / "out")
    options.add_argument("names", nargs="*", help=f"which: {' '.join(BENCHES)} idle; else all")
    chosen = options.parse_args()
    out: Path = chosen.out
    out.mkdir(parents=True, exist_ok=True)
    wanted = [name for name in BENCHES if not chosen.names or name in chosen.names]
    with_idle = not chosen.names or "idle" in chosen.names
    began_s = time.monotonic()
    idle_file = out / "idle.json"
    idle_file.unlink(missing_ok=True)
    idle = [sys.executable, str(HERE / "idle.py"), "--seconds", str(IDLE_S), "--json", str(idle_file)]
    beside = start(idle) if with_idle else None
    figures: list[Figure] = []
    try:
        for name in wanted:
            if (HERE / f"{name}.py").exists():
                own, limit_s = BENCHES[name]
                left_s = ALL_S - (time.monotonic() - began_s)
                figures += bench(name, own, out, limit_s=max(1.0, min(limit_s, left_s)))
        if beside is not None:
            beside.wait(timeout=max(IDLE_S + 60 - (time.monotonic() - began_s), 1))
            figures += read("idle", idle_file)
    finally:
        if beside is not None:
            end(beside)
    kept = {"machine": machine(), "seconds": round(time.monotonic() - began_s), "figures": as_json(figures)}
    (out / "figures.json").write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if chosen.json is not None:
        chosen.json.write_text((out / "figures.json").read_text(encoding="utf-8"), encoding="utf-8")
    (out / "figures.md").write_text(markdown(figures) + "\n", encoding="utf-8")
    (out / "bounds.svg").write_text(shares(figures), encoding="utf-8")
    (out / "throughput.svg").write_text(rates(figures), encoding="utf-8")
    print(table(figures))
    print(f"\n{kept['seconds']} s on {kept['machine']}; all of it in {out}/figures.json", file=sys.stderr)
    return int(any(each.reached is False for each in figures))


if __name__ == "__main__":
    sys.exit(main())
