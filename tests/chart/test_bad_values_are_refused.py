"""Is every wrong value refused, and does the message say which and why?"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Template = Callable[..., list[dict[str, Any]]]


def merged(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """`base` with `change` laid over it, as Helm does; None stays, and removes what is under it."""
    result = copy.deepcopy(base)
    for key, value in change.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


RESOURCES = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1Gi"}}
KEDA = {"enabled": True}
BRAND = {"brand": "b", "client_id": "c", "integrator_id": "i", "client_secret": {"file": "/run/secrets/a/b"}}
SUBSCRIPTION = {"name": "n", "url": "https://n.example", "event_types": ["order.*"]}

BY_SCHEMA: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    ("unknown key", {"replicaCount": 2}, ("replicaCount",)),
    ("unknown key inside", {"api": {"replica": 2}}, ("/api", "replica")),
    ("unknown queue", {"workers": {"extra": {}}}, ("/workers", "extra")),
    ("misspelt setting", {"settings": {"pollIntervall": "2s"}}, ("/settings", "pollIntervall")),
    ("no replicas", {"api": {"replicas": 0}}, ("/api/replicas", "minimum")),
    ("negative replicas", {"scheduler": {"replicas": -1}}, ("/scheduler/replicas", "minimum")),
    ("replicas as text", {"workers": {"poll": {"replicas": "2"}}}, ("/workers/poll/replicas", "want integer")),
    ("half a replica", {"workers": {"deliver": {"replicas": 1.5}}}, ("/workers/deliver/replicas", "want integer")),
    ("no processes", {"workers": {"poll": {"processes": 0}}}, ("/workers/poll/processes", "minimum")),
    ("resources missing", {"api": {"resources": None}}, ("/api", "resources")),
    ("requests missing", {"scheduler": {"resources": {"requests": None}}}, ("/scheduler/resources", "requests")),
    (
        "no memory limit",
        {"workers": {"maintain": {"resources": {"limits": None}}}},
        ("/workers/maintain/resources", "limits"),
    ),
    (
        "cpu as a number",
        {"api": {"resources": {"requests": {"cpu": 1}}}},
        ("/api/resources/requests/cpu", "want string"),
    ),
    (
        "nonsense quantity",
        {"api": {"resources": {"requests": {"memory": "lots"}}}},
        ("/api/resources/requests/memory", "pattern"),
    ),
    ("both secrets", {"secrets": {"adminToken": "t"}}, ("/secrets/adminToken", "''")),
    ("both secrets, keys", {"secrets": {"secretKeys": "k"}}, ("/secrets/secretKeys", "''")),
    ("both addresses", {"redis": {"existingSecret": "redis"}}, ("/redis/url", "''")),
    ("password in the address", {"redis": {"url": "redis://:pa55@redis:6379/0"}}, ("/redis/url", "pattern")),
    ("other database", {"redis": {"url": "postgres://db/0"}}, ("/redis/url", "pattern")),
    ("sentinel without name", {"redis": {"url": "redis+sentinel://a:26379,b:26379"}}, ("/redis/url", "pattern")),
    (
        "sentinel, options for the name",
        {"redis": {"url": "redis+sentinel://a:26379?ssl=true"}},
        ("/redis/url", "pattern"),
    ),
    (
        "user among the options of a sentinel",
        {"redis": {"url": "redis+sentinel://a:26379/relay/0?x=u:p@b"}},
        ("/redis/url", "pattern"),
    ),
    ("traces to nowhere", {"tracing": {"endpoint": "collector:4318"}}, ("/tracing/endpoint", "pattern")),
    (
        "HPA and KEDA",
        {
            "workers": {"deliver": {"hpa": {"enabled": True}, "keda": KEDA}},
            "keda": {"prometheus": {"serverAddress": "http://p"}},
        },
        ("/workers/deliver/hpa/enabled", "false"),
    ),
    ("unknown trigger", {"workers": {"poll": {"keda": {"trigger": "cron"}}}}, ("/workers/poll/keda/trigger",)),
    (
        "threshold as a number",
        {"workers": {"poll": {"keda": {"threshold": 5}}}},
        ("/workers/poll/keda/threshold", "want string"),
    ),
    ("enabled as text", {"ingress": {"enabled": "true"}}, ("/ingress/enabled", "want boolean")),
    ("yes as text", {"networkPolicy": {"enabled": "yes"}}, ("/networkPolicy/enabled", "want boolean")),
    ("duration as a number", {"settings": {"pollInterval": 2}}, ("/settings/pollInterval", "want string")),
    ("duration without unit", {"settings": {"attemptTimeout": "15"}}, ("/settings/attemptTimeout", "pattern")),
    ("duration of weeks", {"settings": {"retention": "2w"}}, ("/settings/retention", "pattern")),
    ("no attempt timeout", {"settings": {"attemptTimeout": ""}}, ("/settings/attemptTimeout", "pattern")),
    ("schedule in one text", {"settings": {"retrySchedule": "5s,5m"}}, ("/settings/retrySchedule", "want array")),
    ("quota of nothing", {"settings": {"quotaPerMinute": 0}}, ("/settings/quotaPerMinute", "minimum")),
    ("network that is none", {"settings": {"allowNetworks": ["10.0.0.0"]}}, ("/settings/allowNetworks/0", "pattern")),
    ("log format", {"settings": {"logFormat": "xml"}}, ("/settings/logFormat",)),
    ("tag with a space", {"image": {"tag": "1 2"}}, ("/image/tag", "pattern")),
    ("tag as a number", {"image": {"tag": 1.1}}, ("/image/tag", "want string")),
    ("repository with tag and digest", {"image": {"repository": "a/b@sha256:00"}}, ("/image/repository", "pattern")),
    ("digest that is none", {"image": {"digest": "sha256:12"}}, ("/image/digest", "pattern")),
    ("pull policy", {"image": {"pullPolicy": "Sometimes"}}, ("/image/pullPolicy",)),
    ("root", {"podSecurityContext": {"runAsUser": 0}}, ("/podSecurityContext/runAsUser", "minimum")),
    ("root by flag", {"podSecurityContext": {"runAsNonRoot": False}}, ("/podSecurityContext/runAsNonRoot", "true")),
    (
        "unconfined",
        {"podSecurityContext": {"seccompProfile": {"type": "Unconfined"}}},
        ("/podSecurityContext/seccompProfile/type",),
    ),
    (
        "annotation that YAML took for a boolean",
        {"podAnnotations": {"sidecar": False}},
        ("/podAnnotations/sidecar", "want string"),
    ),
    ("label that YAML took for a number", {"commonLabels": {"team": 7}}, ("/commonLabels/team", "want string")),
    ("node selector that is a boolean", {"nodeSelector": {"ssd": True}}, ("/nodeSelector/ssd", "want string")),
    ("port 0", {"service": {"port": 0}}, ("/service/port", "minimum")),
    ("port as text", {"service": {"port": "8080"}}, ("/service/port", "want integer")),
    ("service type", {"service": {"type": "ExternalName"}}, ("/service/type",)),
    ("host with a scheme", {"ingress": {"hosts": ["https://relay.example"]}}, ("/ingress/hosts/0", "pattern")),
    (
        "secret in the applied YAML",
        {"apply": {"config": {"brands": [BRAND | {"client_secret": "s"}]}}},
        ("/apply/config/brands/0/client_secret",),
    ),
    (
        "subscription secret in clear",
        {"apply": {"config": {"subscriptions": [SUBSCRIPTION | {"secret": "whsec_x"}]}}},
        ("subscriptions/0/secret",),
    ),
    ("brand without id", {"apply": {"config": {"brands": [{"brand": "b"}]}}}, ("/apply/config/brands/0", "client_id")),
    (
        "subscription with a typo",
        {"apply": {"config": {"subscriptions": [SUBSCRIPTION | {"event_type": "x"}]}}},
        ("subscriptions/0", "event_type"),
    ),
    (
        "two YAMLs",
        {"apply": {"existingConfigMap": "c", "config": {"brands": [BRAND]}}},
        ("/apply/config", "maxProperties"),
    ),
    ("existing secret as a number", {"secrets": {"existingSecret": 7}}, ("/secrets/existingSecret", "want string")),
    ("name with capitals", {"fullnameOverride": "Relay"}, ("/fullnameOverride", "pattern")),
    (
        "own range outside what is public",
        {"networkPolicy": {"exceptCIDRs": ["fd00::/8"]}},
        ("/networkPolicy/exceptCIDRs/0", "pattern"),
    ),
    ("preStop without end", {"api": {"preStopSeconds": 3600}}, ("/api/preStopSeconds", "maximum")),
    (
        "log sink that is none",
        {"dashboards": {"labels": {"grafana_dashboard": 1}}},
        ("/dashboards/labels/grafana_dashboard", "want string"),
    ),
]


@pytest.mark.parametrize(("change", "words"), [case[1:] for case in BY_SCHEMA], ids=[case[0] for case in BY_SCHEMA])
def test_the_schema_refuses_it_in_lint_and_in_template(
    helm: Any, enough: dict[str, Any], change: dict[str, Any], words: tuple[str, ...]
) -> None:
    values = merged(enough, change)
    for call in (helm.lint, helm.template):
        with pytest.raises(RuntimeError) as said:
            call(values)
        for word in words:
            assert word in str(said.value)


TOGETHER: list[tuple[str, dict[str, Any], str]] = [
    ("no image", {"image": {"repository": ""}}, "image.repository is empty: name the registry"),
    (
        "no secrets",
        {"secrets": {"existingSecret": ""}},
        "secrets.existingSecret is empty: name a Secret with the keys admin-token and secret-keys",
    ),
    ("half of the secrets", {"secrets": {"existingSecret": "", "adminToken": "t"}}, "secrets.existingSecret is empty"),
    (
        "metrics token without a Secret",
        {"secrets": {"existingSecret": "", "adminToken": "t", "secretKeys": "k", "keys": {"metricsToken": "m"}}},
        "secrets.keys.metricsToken is set without secrets.existingSecret",
    ),
    ("no Redis", {"redis": {"url": ""}}, "Redis is missing: set redis.existingSecret"),
    ("two Redis", {"valkey": {"enabled": True}}, "redis.url and valkey.enabled are both set"),
    (
        "password among the options of an address",
        {"redis": {"url": "redis+sentinel://a:26379/relay/0?sentinel_password=pa55"}},
        "redis.url holds a password among its options",
    ),
    (
        "password that nobody knows",
        {"redis": {"url": ""}, "valkey": {"enabled": True, "auth": {"enabled": True}}},
        "put the whole address (redis://default:PASSWORD@r-valkey:6379/0",
    ),
    (
        "CA that is not used",
        {"redis": {"ca": {"existingSecret": "ca"}}},
        "append ?ssl_ca_certs=/etc/clopos-relay/redis-ca/ca.crt",
    ),
    (
        "grace below an attempt",
        {"workers": {"deliver": {"terminationGracePeriodSeconds": 20}}},
        "of deliver is 20: work in hand needs 30",
    ),
    (
        "grace that a longer attempt outgrew",
        {"settings": {"attemptTimeout": "1.5m"}, "workers": {"deliver": {"terminationGracePeriodSeconds": 60}}},
        "of deliver is 60: work in hand needs 105 (settings.attemptTimeout is 1.5m)",
    ),
    ("grace of the API", {"api": {"terminationGracePeriodSeconds": 10}}, "of api is 10: work in hand needs 35"),
    (
        "KEDA without Prometheus",
        {"workers": {"poll": {"keda": KEDA}}},
        "keda.prometheus.serverAddress is empty: workers.poll.keda",
    ),
    (
        "KEDA without Redis",
        {"workers": {"deliver": {"keda": KEDA | {"trigger": "redis"}}}},
        "keda.redis.address is empty: workers.deliver.keda",
    ),
    ("fewest above most", {"api": {"hpa": {"minReplicas": 9}}}, "api.hpa.minReplicas is 9, more than maxReplicas, 6"),
    ("nothing to apply", {"apply": {"enabled": True}}, "apply.enabled is set with nothing to apply"),
    ("Ingress for everything", {"ingress": {"enabled": True}}, "ingress.hosts is empty"),
    ("policy without Redis", {"networkPolicy": {"enabled": True}}, "networkPolicy.redis.to is empty: say where Redis"),
    (
        "policy that locks the Ingress out",
        {
            "networkPolicy": {"enabled": True, "redis": {"to": [{"ipBlock": {"cidr": "10.0.0.5/32"}}]}},
            "ingress": {"enabled": True, "hosts": ["a.example"]},
        },
        "networkPolicy.ingress.from is empty",
    ),
    (
        "a setting behind the chart's back",
        {"extraEnv": [{"name": "RELAY_PORT", "value": "1"}]},
        "extraEnv holds RELAY_PORT",
    ),
]


@pytest.mark.parametrize(("change", "sentence"), [case[1:] for case in TOGETHER], ids=[case[0] for case in TOGETHER])
def test_what_does_not_go_together_is_refused_in_a_sentence(
    helm: Any, enough: dict[str, Any], change: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(RuntimeError, match="These values cannot work") as said:
        helm.template(merged(enough, change))
    assert sentence in str(said.value)


def test_everything_that_is_missing_is_said_at_once(helm: Any) -> None:
    with pytest.raises(RuntimeError, match="These values cannot work") as said:
        helm.template({})
    for word in ("image.repository", "secrets.existingSecret", "Redis is missing"):
        assert word in str(said.value)


SURPRISES = {
    "no as a name": ("fullnameOverride: no", "/fullnameOverride"),
    "a number with a leading zero as a token": (
        "secrets: {existingSecret: '', adminToken: 0123, secretKeys: k}",
        "/secrets/adminToken",
    ),
    "an exponent as a tag": ("image: {tag: 1e3}", "/image/tag"),
    "off as an annotation": ("podAnnotations: {a: off}", "/podAnnotations/a"),
    "digits with an underscore as a label": ("podLabels: {a: 1_0}", "/podLabels/a"),
}


@pytest.mark.parametrize(("text", "pointer"), SURPRISES.values(), ids=SURPRISES)
def test_what_yaml_reads_in_its_own_way_is_refused(
    helm: Any, enough: dict[str, Any], tmp_path: Path, text: str, pointer: str
) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(text)
    with pytest.raises(RuntimeError, match=pointer):
        helm.template(enough, files=(file,))


def test_a_date_stays_as_it_was_written(helm: Any, enough: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text("image: {tag: 2026-01-01}")
    images = {
        container["image"]
        for each in helm.template(enough, files=(file,))
        if each["kind"] == "Deployment"
        for container in each["spec"]["template"]["spec"]["containers"]
    }
    assert images == {"registry.example/clopos-relay:2026-01-01"}


def test_of_a_key_given_twice_helm_takes_the_last_and_the_schema_checks_that_one(
    helm: Any, enough: dict[str, Any], tmp_path: Path
) -> None:
    # Helm reads values leniently before any chart sees them: a chart cannot refuse the repetition itself.
    file = tmp_path / "values.yaml"
    file.write_text("api: {replicas: 2}\napi: {replicas: 0}\n")
    with pytest.raises(RuntimeError, match="/api/replicas"):
        helm.template(enough, files=(file,))


def test_the_charts_own_files_give_no_key_twice(chart_folder: Path) -> None:
    class Strict(yaml.SafeLoader):
        """YAML without repetitions."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002  as in the base class
            names = [self.construct_object(key) for key, _ in node.value]
            assert len(names) == len(set(names)), f"twice in {node.start_mark}: {names}"
            return super().construct_mapping(node, deep)

    for path in [
        chart_folder / "values.yaml",
        *(chart_folder / "ci").glob("*.yaml"),
        *(chart_folder / "rules").glob("*.yaml"),
    ]:
        yaml.load(path.read_text(), Strict)  # noqa: S506  derived from the safe one
