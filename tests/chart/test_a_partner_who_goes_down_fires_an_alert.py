"""A real Prometheus with the chart's own rules scrapes a real relay. What is told when a partner goes down?"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from relay.core.durations import parse_duration
from relay.metrics import TABLE
from relay.sandbox.documented import BRAND
from tests.chart.boards import expressions, filled_in, read_dashboards
from tests.chart.prometheuses import Prometheus, running_prometheus
from tests.conftest import RedisServer
from tests.e2e.installations import Installation, installation
from tests.e2e.rigs import until
from tests.integration.relays import Call

FASTER = 30
"""Each ``for:`` of a rule is divided by that, and nothing else of it is touched."""


def faster(rules: Path, folder: Path) -> Path:
    """A copy of a file of rules in which alerts wait less before they fire."""
    content = yaml.safe_load(rules.read_text())
    for group in content["groups"]:
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = f"{parse_duration(rule['for']) // FASTER // timedelta(milliseconds=1)}ms"
    copy = folder / rules.name
    copy.write_text(yaml.safe_dump(content))
    return copy


async def firing(prometheus: Prometheus) -> set[tuple[str, ...]]:
    """What fires now."""
    return {*await asyncio.to_thread(prometheus.alerts)}


async def until_it_fires(prometheus: Prometheus, *alert: str, fires: bool = True, timeout_s: float = 30) -> None:
    async def so() -> bool:
        return (alert in await firing(prometheus)) is fires

    try:
        await until(so, timeout_s=timeout_s)
    except TimeoutError:
        raise AssertionError(f"{alert} is not {fires}: {await firing(prometheus)}") from None


async def subscribed(relay: Installation, name: str) -> str:
    """Another subscription at the same partner's."""
    async with relay.api() as client:
        body = {"name": name, "url": relay.partner.url, "event_types": ["order.*"]}
        answer = await client.post("/v1/subscriptions", json=body)
        assert answer.status_code == web.HTTPCreated.status_code, answer.text
        made: str = answer.json()["id"]
        return made


@pytest.mark.timeout(240)
async def test_an_alert_fires_while_the_partner_is_down_and_resolves_when_it_is_back(
    own_redis: RedisServer, tool: Callable[[str], str], chart_folder: Path, tmp_path: Path
) -> None:
    status: dict[str, int] = {}

    async def answer(call: Call) -> web.StreamResponse:
        return web.Response(status=status.get(call.headers["relay-subscription"], 204))

    (tmp_path / "relay").mkdir()
    rules = [faster(chart_folder / "rules" / name, tmp_path) for name in ("recording.yaml", "alerts.yaml")]
    async with installation(own_redis.url, tmp_path / "relay", answer=answer) as relay:
        well = await subscribed(relay, "kitchen")
        down = relay.subscription
        with running_prometheus(
            tool("prometheus"), tmp_path, targets=[f"127.0.0.1:{relay.port}"], rules=rules
        ) as prometheus:
            await asyncio.to_thread(prometheus.until, 'count_over_time(relay_redis_up{job="relay"}[1m]) >= 3')
            for _ in range(5):
                relay.clopos.world.place(BRAND, 1)
            await relay.partner.got(10)
            await asyncio.to_thread(prometheus.until, "sum(relay_deliveries_total) == 10")
            assert await firing(prometheus) == set()

            status[down] = 503
            for _ in range(5):
                relay.clopos.world.place(BRAND, 1)
            await the_scrape_is_right(relay, tool)
            await every_panel_can_be_shown(prometheus, chart_folder)
            await until_it_fires(prometheus, "RelayBacklogOld", down, timeout_s=120)
            assert {alert for alert in await firing(prometheus) if well in alert} == set()
            fired = prometheus.alerts()["RelayBacklogOld", down]
            assert fired["annotations"]["summary"].startswith(f"Deliveries to {down} have waited for 1m ")
            assert fired["annotations"]["runbook_url"] == "docs/operations.md#relaybacklogold"

            del status[down]
            await until_it_fires(prometheus, "RelayBacklogOld", down, fires=False)
            await relay.quiet()

            status[down] = 410
            relay.clopos.world.place(BRAND, 1)
            await until_it_fires(prometheus, "RelaySubscriptionDisabled", down)
            del status[down]
            async with relay.api() as client:
                assert (await client.post(f"/v1/subscriptions/{down}/resume")).is_success
            await until_it_fires(prometheus, "RelaySubscriptionDisabled", down, fires=False)
            await relay.quiet()


async def the_scrape_is_right(relay: Installation, tool: Callable[[str], str]) -> None:
    """Hold what the relay exports against Prometheus' own checker, its parser, and the table."""
    async with relay.api() as client:
        scraped = (await client.get("/metrics")).text
    checked = await asyncio.to_thread(
        subprocess.run,
        [tool("promtool"), "check", "metrics"],
        input=scraped,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    exported = {family.name for family in text_string_to_metric_families(scraped)}
    assert exported == {row.name.removesuffix("_total") for row in TABLE}


async def every_panel_can_be_shown(prometheus: Prometheus, chart_folder: Path) -> None:
    """Ask every expression of every dashboard; those of what happens all the time have an answer."""
    shown: dict[str, list[Any]] = {}
    for dashboard in read_dashboards(chart_folder).values():
        for title, expr in expressions(dashboard):
            shown[f"{dashboard['title']}: {title}: {expr}"] = await asyncio.to_thread(prometheus.query, filled_in(expr))
    silent = {panel for panel, result in shown.items() if not result}
    assert len(silent) < len(shown) / 4, silent


def test_only_the_waiting_of_rules_is_shortened(chart_folder: Path, tmp_path: Path) -> None:
    for name in ("recording.yaml", "alerts.yaml"):
        before = yaml.safe_load((chart_folder / "rules" / name).read_text())
        after = yaml.safe_load(faster(chart_folder / "rules" / name, tmp_path).read_text())
        for content in (before, after):
            for group in content["groups"]:
                for rule in group["rules"]:
                    rule.pop("for", None)
        assert before == after
