"""Does every alert fire when it should, and stay quiet when it should not? Judged by `promtool test rules`."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

Series = dict[str, str]
"""A metric with its labels → promtool's notation of its values, one each 15 s."""


@dataclass(frozen=True, slots=True)
class Case:
    """One alert, once firing and once not.

    Attributes:
        labels: what the alert carries beside its severity.
        summary: with its figures filled in.
        at: when it is looked at, after the start of the series.
    """

    alert: str
    fires: Series
    summary: str
    quiet: Series
    labels: dict[str, str] = field(default_factory=dict)
    at: str = "10m"


UP = "0+75x2000"
"""5 a second."""

CASES = [
    Case(
        "RelayAbsent",
        {"relay_redis_up": "1x40"},
        "Prometheus sees no relay at all",
        {'relay_build_info{version="0.1.0"}': "1x40"},
    ),
    Case(
        "RelayRedisDown", {"relay_redis_up": "1x4 0x40"}, "The relay cannot use Redis", {"relay_redis_up": "1x4 0 1x40"}
    ),
    Case(
        "RelayStateMissing",
        {"relay_state_missing": "0 1x40"},
        "Redis is empty and should not be",
        {"relay_state_missing": "0x40"},
    ),
    Case(
        "RelayBeganAnew",
        {"relay_installation_created_timestamp_seconds": "1770039965x20 0x4 1770040600x40"},
        "What the relay knew is gone, or was made anew",
        {"relay_installation_created_timestamp_seconds": "0x10 1770039965x40"},
    ),
    Case(
        "RelayNoWorker",
        {'relay_workers{queue="deliver"}': "2x4 0x40", 'relay_workers{queue="poll"}': "1x40"},
        "No worker serves the queue deliver",
        {'relay_workers{queue="deliver"}': "2x37 0x3"},
        {"queue": "deliver"},
    ),
    Case("RelayNoScheduler", {"relay_schedulers": "0x40"}, "No scheduler is at work", {"relay_schedulers": "1x37 0x3"}),
    Case(
        "RelayWorkBehind",
        {'relay_overdue_seconds{queue="poll"}': "0+15x40"},
        "Work of the queue poll has been due for 10m 0s",
        {'relay_overdue_seconds{queue="poll"}': "0 15 30 29x40"},
        {"queue": "poll"},
    ),
    Case(
        "RelayUnaccounted",
        {"relay_unaccounted_deliveries": "0x30 3x20"},
        "3 deliveries are not accounted for",
        {"relay_unaccounted_deliveries": "0x60"},
    ),
    Case(
        "RelayLedgerAuditOld",
        {"relay_ledger_audit_age_seconds": "3500+15x60"},
        "The ledger was last counted 1h 8m 20s ago",
        {"relay_ledger_audit_age_seconds": "600x60"},
    ),
    Case(
        "RelayRedisNearlyFull",
        {"relay_redis_memory_bytes": "80x60", "relay_redis_maxmemory_bytes": "100x60"},
        "Redis is 80% full",
        {"relay_redis_memory_bytes": "80x60", "relay_redis_maxmemory_bytes": "0x60"},
    ),
    Case(
        "RelayRedisFull",
        {"relay_redis_memory_bytes": "90x60", "relay_redis_maxmemory_bytes": "100x60"},
        "Redis is 90% full and polling has stopped",
        {"relay_redis_memory_bytes": "84x60", "relay_redis_maxmemory_bytes": "100x60"},
    ),
    Case(
        "RelayClockSkew",
        {"relay_clock_skew_seconds": "90x60"},
        "A machine's clock is 1m 30s off Redis'",
        {"relay_clock_skew_seconds": "2x60"},
    ),
    Case(
        "RelayBrandNotPolled",
        {'relay_poll_staleness_seconds{brand="b"}': "0+15x40", 'relay_poll_staleness_seconds{brand="c"}': "3x40"},
        "A venue of b was last looked at 10m 0s ago",
        {'relay_poll_staleness_seconds{brand="b"}': "0+15x19 2x40"},
        {"brand": "b"},
    ),
    Case(
        "RelayBrandStale",
        {'relay_poll_staleness_seconds{brand="b"}': "150x60"},
        "A venue of b is looked at every 2m 30s only",
        {'relay_poll_staleness_seconds{brand="b"}': "90x60"},
        {"brand": "b"},
    ),
    Case(
        "RelayBrandFailing",
        {'relay_brand_state{brand="b",state="failing"}': "1x60", 'relay_brand_state{brand="b",state="ok"}': "0x60"},
        "Looks at b fail",
        {
            'relay_brand_state{brand="b",state="failing"}': "0x38 1x2",
            'relay_brand_state{brand="b",state="ok"}': "1x38 0x2",
        },
        {"brand": "b", "state": "failing"},
    ),
    Case(
        "RelayBrandUnauthorized",
        {
            'relay_poll_requests_total{brand="b",resource="auth",outcome="unauthorized"}': "0+1x60",
            'relay_poll_requests_total{brand="b",resource="orders",outcome="ok"}': "70x60",
            'relay_poll_requests_total{brand="c",resource="orders",outcome="ok"}': UP,
        },
        "Clopos refuses the credentials of b",
        {
            'relay_poll_requests_total{brand="b",resource="orders",outcome="unauthorized"}': "0+1x60",
            'relay_poll_requests_total{brand="b",resource="orders",outcome="ok"}': UP,
        },
        {"brand": "b", "outcome": "unauthorized"},
    ),
    Case(
        "RelayThrottled",
        {'relay_poll_requests_total{brand="b",resource="orders",outcome="throttled"}': "0+1x60"},
        "Clopos throttles b",
        {'relay_poll_requests_total{brand="b",resource="orders",outcome="throttled"}': "4x60"},
        {"brand": "b", "outcome": "throttled"},
    ),
    Case(
        "RelayQuotaExhausted",
        {'relay_quota_remaining{brand="b"}': "0x60"},
        "The quota of b is used up, the share for commands too",
        {'relay_quota_remaining{brand="b"}': "0 0 0 12 0 0 0" + 10 * " 0 0 20 0"},
        {"brand": "b"},
    ),
    Case(
        "RelayRowsQuarantined",
        {'relay_quarantined_rows{brand="b"}': "2x60"},
        "2 rows of b cannot be read",
        {'relay_quarantined_rows{brand="b"}': "0x30 2x3 0x30"},
        {"brand": "b"},
    ),
    Case(
        "RelayReconcileDrift",
        {'relay_reconcile_drift_total{brand="b"}': "0x20 2x40"},
        "Reconciliation found changes of b that polling had missed",
        {'relay_reconcile_drift_total{brand="b"}': "7x60"},
        {"brand": "b"},
    ),
    Case(
        "RelayReconcileOld",
        {'relay_reconcile_age_seconds{brand="b"}': "8000x60"},
        "b was last compared whole 2h 13m 20s ago",
        {'relay_reconcile_age_seconds{brand="b"}': "900x60"},
        {"brand": "b"},
    ),
    Case(
        "RelayEventLatencyHigh",
        {
            'relay_event_latency_seconds_bucket{le="1"}': "0x60",
            'relay_event_latency_seconds_bucket{le="60"}': "0+10x60",
            'relay_event_latency_seconds_bucket{le="+Inf"}': "0+10x60",
        },
        "One event in twenty takes more than 57.05s from seen to accepted",
        {
            'relay_event_latency_seconds_bucket{le="1"}': "0+96x60",
            'relay_event_latency_seconds_bucket{le="60"}': "0+100x60",
            'relay_event_latency_seconds_bucket{le="+Inf"}': "0+100x60",
        },
    ),
    Case(
        "RelayBacklogOld",
        {
            'relay_backlog_oldest_seconds{subscription="s"}': "0+15x60",
            'relay_subscription_state{subscription="s",state="active"}': "1x60",
            'relay_backlog_oldest_seconds{subscription="t"}': "3x60",
            'relay_subscription_state{subscription="t",state="active"}': "1x60",
        },
        "Deliveries to s have waited for 10m 0s",
        {
            'relay_backlog_oldest_seconds{subscription="s"}': "0+15x60",
            'relay_subscription_state{subscription="s",state="active"}': "0x60",
            'relay_subscription_state{subscription="s",state="paused"}': "1x60",
        },
        {"subscription": "s"},
    ),
    Case(
        "RelaySuccessRateBurningFast",
        {
            'relay_delivery_attempts_total{subscription="s",status_class="2xx"}': "0+3x300",
            'relay_delivery_attempts_total{subscription="s",status_class="5xx"}': "0+1x300",
        },
        "25% of the attempts to s failed within the hour",
        {
            'relay_delivery_attempts_total{subscription="s",status_class="2xx"}': "0+95x300",
            'relay_delivery_attempts_total{subscription="s",status_class="5xx"}': "0+5x300",
        },
        {"subscription": "s"},
    ),
    Case(
        "RelaySuccessRateBurning",
        {
            'relay_delivery_attempts_total{subscription="s",status_class="2xx"}': "0+9x2000",
            'relay_delivery_attempts_total{subscription="s",status_class="timeout"}': "0+1x2000",
        },
        "10% of the attempts to s failed within six hours",
        {
            # An hour in six was bad, and it is over.
            'relay_delivery_attempts_total{subscription="s",status_class="2xx"}': "0+9x2000",
            'relay_delivery_attempts_total{subscription="s",status_class="timeout"}': "0+9x240 2160x1760",
        },
        {"subscription": "s"},
        at="7h",
    ),
    Case(
        "RelayManyPartnersFailing",
        {f'relay_delivery_attempts_total{{subscription="{s}",status_class="network"}}': UP for s in "abcd"}
        | {'relay_delivery_attempts_total{subscription="e",status_class="2xx"}': UP},
        "Most attempts to 4 subscriptions fail at once",
        {f'relay_delivery_attempts_total{{subscription="{s}",status_class="network"}}': UP for s in "abc"}
        | {f'relay_delivery_attempts_total{{subscription="{s}",status_class="2xx"}}': UP for s in "efgh"},
    ),
    Case(
        "RelayDeadGrowing",
        {'relay_dead_deliveries{subscription="s"}': "4x20 9x40"},
        "5 more deliveries to s are dead than an hour ago",
        {'relay_dead_deliveries{subscription="s"}': "9x20 4x40"},
        {"subscription": "s"},
    ),
    Case(
        "RelaySubscriptionDisabled",
        {'relay_subscription_state{subscription="s",state="disabled"}': "0x8 1x60"},
        "The subscription s is disabled",
        {
            'relay_subscription_state{subscription="s",state="disabled"}': "0x60",
            'relay_subscription_state{subscription="s",state="paused"}': "1x60",
        },
        {"subscription": "s", "state": "disabled"},
    ),
]


def alerts(chart_folder: Path) -> list[dict[str, Any]]:
    """Every alert of the chart."""
    groups = yaml.safe_load((chart_folder / "rules" / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def two_replicas(series: Series) -> list[dict[str, str]]:
    """As two pods of the API export it: the same figures, and other labels."""
    found = []
    for name, values in series.items():
        metric, _, labels = name.partition("{")
        for replica in ("a", "b"):
            own = f'instance="10.0.0.1:{ord(replica)}",pod="api-{replica}",job="relay",namespace="relay"'
            found.append({"series": f"{metric}{{{own}{',' if labels else ''}{labels or '}'}", "values": values})
    return found


def expected(case: Case, rule: dict[str, Any]) -> dict[str, Any]:
    """The alert with its labels and its sentences filled in."""
    kept = {} if case.alert == "RelayAbsent" else {"job": "relay", "namespace": "relay"}
    return {
        "exp_labels": rule["labels"] | kept | case.labels,
        "exp_annotations": {
            "summary": case.summary,
            "description": re.sub(
                r"{{ \$labels\.(\w+) }}", lambda found: case.labels[found[1]], rule["annotations"]["description"]
            ),
            "runbook_url": rule["annotations"]["runbook_url"],
        },
    }


@pytest.fixture(scope="module")
def verdict(chart_folder: Path, tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """What promtool says of all cases."""
    rules = {rule["alert"]: rule for rule in alerts(chart_folder)}
    tests = [
        {
            "name": f"{case.alert} {name}",
            "interval": "15s",
            "input_series": two_replicas(series),
            "alert_rule_test": [{"eval_time": case.at, "alertname": case.alert, "exp_alerts": fired}],
        }
        for case in CASES
        for name, series, fired in (
            ("fires", case.fires, [expected(case, rules[case.alert])]),
            ("is quiet", case.quiet, []),
        )
    ]
    files = [str(chart_folder / "rules" / name) for name in ("recording.yaml", "alerts.yaml")]
    folder = tmp_path_factory.mktemp("promtool")
    halves = []
    for number in range(2):  # each on a processor of its own
        file = folder / f"test-{number}.yaml"
        half = {"rule_files": files, "evaluation_interval": "15s", "tests": tests[number::2]}
        file.write_text(yaml.safe_dump(half))
        command = [tool("promtool"), "test", "rules", str(file)]
        halves.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    verdicts = [half.communicate()[0] for half in halves]
    assert all("SUCCESS" in said or "FAILED" in said for said in verdicts), verdicts
    return "\n".join(verdicts)


@pytest.mark.parametrize("case", CASES, ids=[case.alert for case in CASES])
@pytest.mark.parametrize("name", ["fires", "is quiet"])
def test_it_fires_when_it_should_and_only_then(verdict: str, case: Case, name: str) -> None:
    assert f"name: {case.alert} {name}," not in verdict, verdict


def test_promtool_finds_all_of_that_in_order(verdict: str) -> None:
    assert "FAILED" not in verdict


def test_every_alert_has_a_case(chart_folder: Path) -> None:
    assert sorted(case.alert for case in CASES) == sorted(rule["alert"] for rule in alerts(chart_folder))


def test_every_alert_says_how_bad_it_is_and_what_to_do(chart_folder: Path) -> None:
    for rule in alerts(chart_folder):
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
        assert rule["annotations"]["runbook_url"] == f"docs/operations.md#{rule['alert'].lower()}"


def test_every_alert_has_its_runbook_and_every_runbook_its_alert(chart_folder: Path, root_folder: Path) -> None:
    headings = re.findall(r"^### (Relay\w+)$", (root_folder / "docs" / "operations.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted({rule["alert"] for rule in alerts(chart_folder)})


def test_promtool_finds_no_fault_in_the_rules(chart_folder: Path, tool: Callable[[str], str]) -> None:
    rules = [str(chart_folder / "rules" / name) for name in ("recording.yaml", "alerts.yaml")]
    result = subprocess.run(
        [tool("promtool"), "check", "rules", "--lint-fatal", *rules], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_nothing_is_summed_over_replicas(chart_folder: Path) -> None:
    # `sum without (…)` keeps instance and pod unless `max` has taken them away before.
    for name in ("recording.yaml", "alerts.yaml"):
        for group in yaml.safe_load((chart_folder / "rules" / name).read_text())["groups"]:
            for rule in group["rules"]:
                raw = re.sub(r"max without \(instance, pod\) \((?:increase\(|rate\()?relay_\w+", "", rule["expr"])
                assert not re.findall(r"relay_\w+", raw.replace("absent(relay_build_info)", "")), rule
