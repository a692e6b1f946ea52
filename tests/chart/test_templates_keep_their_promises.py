"""Does every combination of values make objects that hold what the chart promises?"""

from __future__ import annotations

import copy
import ipaddress
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from relay.core.durations import parse_duration
from relay.queues import queue_name
from relay.settings import SETTINGS, Settings
from workers.post import Post

Object = dict[str, Any]

ENOUGH: Object = {
    "image": {"repository": "registry.example/clopos-relay"},
    "secrets": {"existingSecret": "relay"},
    "redis": {"url": "redis://redis.example:6379/0"},
}
POLICY = {
    "enabled": True,
    "redis": {"to": [{"ipBlock": {"cidr": "10.9.9.9/32"}}]},
    "ingress": {"from": [{"namespaceSelector": {}}]},
}
BRANDS = {
    "brands": [
        {"brand": "b", "client_id": "c", "integrator_id": "i", "client_secret": {"file": "/run/secrets/clopos/secret"}}
    ]
}
PROMETHEUS = {"prometheus": {"serverAddress": "http://prometheus:9090"}}
CONTEXT_OFF = {"runAsUser": None, "runAsGroup": None, "fsGroup": None}

CHANGES: dict[str, Object] = {
    "as little as possible": {},
    "names": {"nameOverride": "hooks", "commonLabels": {"team": "orders"}},
    "full name that is the relay's own": {"fullnameOverride": "relay"},
    "long names": {"fullnameOverride": "a" * 50},
    "digest and pull secrets": {"image": {"digest": "sha256:" + "0" * 64, "pullSecrets": ["registry"]}},
    "inline secrets": {"secrets": {"existingSecret": "", "adminToken": "made-up", "secretKeys": "made-up"}},
    "other keys and a metrics token": {
        "secrets": {"keys": {"adminToken": "a", "secretKeys": "s", "metricsToken": "m"}}
    },
    "redis by secret, with a CA": {"redis": {"url": "", "existingSecret": "redis", "ca": {"existingSecret": "ca"}}},
    "sentinel": {"redis": {"url": "redis+sentinel://s-0:26379,s-1:26379/relay/0"}},
    "sentinel over TLS": {
        "redis": {
            "url": "redis+sentinel://s-0:26379,s-1:26379/relay/0?ssl=true&ssl_ca_certs=/etc/clopos-relay/redis-ca/ca.crt",
            "ca": {"existingSecret": "ca"},
        }
    },
    "valkey": {"redis": {"url": ""}, "valkey": {"enabled": True}},
    "valkey with a policy": {"redis": {"url": ""}, "valkey": {"enabled": True}, "networkPolicy": {"enabled": True}},
    "every setting": {
        "settings": {
            "cloposUrl": "https://clopos.example/v2",
            "quotaPerMinute": 120,
            "pollInterval": "3s",
            "reconcileInterval": "1h",
            "attemptTimeout": "20s",
            "retrySchedule": ["5s", "1m"],
            "allowNetworks": ["10.1.0.0/16", "fd00::/8"],
            "retention": "3d",
            "logFormat": "console",
        }
    },
    "a long attempt": {"settings": {"attemptTimeout": "2m"}},
    "a short attempt": {"settings": {"attemptTimeout": "500ms"}},
    "grace by hand": {
        "api": {"terminationGracePeriodSeconds": 90},
        "workers": {"deliver": {"terminationGracePeriodSeconds": 90}},
    },
    "no preStop": {"api": {"preStopSeconds": 0}},
    "processes and concurrency": {"workers": {"deliver": {"processes": 4, "concurrency": 200}}},
    "hpa": {
        "api": {"hpa": {"enabled": True}},
        "workers": {"poll": {"hpa": {"enabled": True}}, "deliver": {"hpa": {"enabled": True}}},
    },
    "keda by metrics": {
        "keda": PROMETHEUS,
        "workers": {"poll": {"keda": {"enabled": True}}, "deliver": {"keda": {"enabled": True}}},
    },
    "keda by a query, with credentials": {
        "keda": {"prometheus": {"serverAddress": "http://p", "authenticationRef": "p"}},
        "workers": {"deliver": {"keda": {"enabled": True, "query": "max(relay_overdue_seconds)", "threshold": "10"}}},
    },
    "keda by the queue": {
        "keda": {"redis": {"address": "redis:6379", "existingSecret": "redis"}},
        "workers": {
            "poll": {"keda": {"enabled": True, "trigger": "redis"}},
            "deliver": {"keda": {"enabled": True, "trigger": "redis"}},
        },
    },
    "keda by the queue behind sentinels": {
        "keda": {"redis": {"address": "s-0:26379,s-1:26379", "sentinelMaster": "relay", "tls": True}},
        "workers": {"deliver": {"keda": {"enabled": True, "trigger": "redis"}}},
    },
    "hpa here, keda there": {
        "keda": PROMETHEUS,
        "workers": {"poll": {"hpa": {"enabled": True}}, "deliver": {"keda": {"enabled": True}}},
    },
    "apply": {"apply": {"enabled": True, "config": BRANDS, "secretNames": ["clopos"]}},
    "apply from elsewhere, pruning": {
        "apply": {"enabled": True, "existingConfigMap": "git", "existingConfigMapKey": "all.yaml", "prune": True}
    },
    "ingress": {
        "ingress": {
            "enabled": True,
            "hosts": ["a.example", "b.example"],
            "className": "nginx",
            "tlsSecret": "tls",
            "annotations": {"a": "b"},
        }
    },
    "ingress without TLS": {"ingress": {"enabled": True, "hosts": ["a.example"]}},
    "load balancer": {"service": {"type": "LoadBalancer", "port": 80, "annotations": {"a": "b"}}},
    "no service account of its own": {"serviceAccount": {"create": False}},
    "named service account": {"serviceAccount": {"name": "orders", "annotations": {"a": "b"}}},
    "network policy": {"networkPolicy": POLICY},
    "network policy with own ranges": {
        "networkPolicy": POLICY | {"exceptCIDRs": ["198.51.77.0/24", "2a00::/16"]},
        "settings": {"allowNetworks": ["10.1.0.0/16"]},
    },
    "traces": {"tracing": {"endpoint": "http://collector.monitoring:4318"}},
    "traces, with a policy": {
        "tracing": {"endpoint": "http://collector.monitoring:4318"},
        "networkPolicy": POLICY | {"tracing": {"to": [{"namespaceSelector": {}}], "ports": [4318]}},
    },
    "no budget, no spread": {"podDisruptionBudget": {"enabled": False}, "topologySpread": {"enabled": False}},
    "budget in percent": {"podDisruptionBudget": {"maxUnavailable": "25%"}},
    "strict spread": {"topologySpread": {"whenUnsatisfiable": "DoNotSchedule"}},
    "the cluster chooses the user": {"podSecurityContext": CONTEXT_OFF},
    "pods with everything": {
        "podAnnotations": {"a": "b"},
        "podLabels": {"c": "d"},
        "priorityClassName": "high",
        "nodeSelector": {"e": "f"},
        "tolerations": [{"key": "g", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "extraEnv": [{"name": "OTEL_SERVICE_NAME", "value": "relay"}],
        "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ssl/extra"}],
    },
    "service monitor": {"serviceMonitor": {"enabled": True, "labels": {"release": "p"}}},
    "service monitor with a token": {"serviceMonitor": {"enabled": True}, "secrets": {"keys": {"metricsToken": "m"}}},
    "rules": {"prometheusRule": {"enabled": True, "labels": {"release": "p"}, "disabledAlerts": ["RelayBrandStale"]}},
    "dashboards": {"dashboards": {"enabled": True, "annotations": {"folder": "relay"}}},
}


def merged(base: Object, change: Object) -> Object:
    """`base` with `change` laid over it."""
    result = copy.deepcopy(base)
    for key, value in change.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def _everything() -> Object:
    at_once: Object = {}
    for name in (
        "names",
        "other keys and a metrics token",
        "every setting",
        "processes and concurrency",
        "hpa here, keda there",
        "apply",
        "ingress",
        "network policy with own ranges",
        "strict spread",
        "pods with everything",
        "service monitor",
        "rules",
        "dashboards",
        "traces",
    ):
        at_once = merged(at_once, CHANGES[name])
    return merged(at_once, {"api": {"hpa": {"enabled": True}}})


CHANGES["everything at once"] = _everything()
CHANGES["everything at once, with valkey"] = merged(_everything(), {"redis": {"url": ""}, "valkey": {"enabled": True}})


@pytest.fixture(scope="session")
def rendered(helm: Any) -> dict[str, list[Object]]:
    """Every combination, rendered."""
    return {name: helm.template(merged(ENOUGH, change)) for name, change in CHANGES.items()}


@pytest.fixture(params=CHANGES)
def objects(request: pytest.FixtureRequest, rendered: dict[str, list[Object]]) -> list[Object]:
    """Those of one combination."""
    return rendered[request.param]


def kind(objects: list[Object], name: str) -> list[Object]:
    return [each for each in objects if each["kind"] == name]


def pods(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Component and pod template of each workload of the relay."""
    for each in objects:
        template = each if each["kind"] == "Pod" else each.get("spec", {}).get("template")
        if template and "containers" in template.get("spec", {}):
            yield template["metadata"]["labels"]["app.kubernetes.io/component"], template


def by_component(objects: list[Object]) -> dict[str, Object]:
    return {each["metadata"]["labels"]["app.kubernetes.io/component"]: each for each in kind(objects, "Deployment")}


def environment(container: Object) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in container.get("env", [])}


def test_every_change_is_a_change(rendered: dict[str, list[Object]]) -> None:
    plain = rendered["as little as possible"]
    assert [name for name, objects in rendered.items() if objects == plain] == ["as little as possible"]


@pytest.mark.parametrize("version", ["1.30.0", "1.31.0", "1.32.0", "1.33.0", "1.34.0", "1.35.0", "1.36.0", "1.37.0"])
def test_kubernetes_would_take_every_object(
    rendered: dict[str, list[Object]],
    kubernetes_schemas: Path,
    tool: Callable[[str], str],
    tmp_path: Path,
    version: str,
) -> None:
    # Most combinations share most objects: each is judged once.
    different = {json.dumps(each, sort_keys=True): each for objects in rendered.values() for each in objects}
    (tmp_path / "all.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [*different.values()]}))
    locations = [
        option
        for folder in ("{{ .NormalizedKubernetesVersion }}", "crd")
        for option in (
            "-schema-location",
            f"{kubernetes_schemas}/{folder}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json",
        )
    ]
    result = subprocess.run(
        [tool("kubeconform"), "-strict", "-n", "2", "-kubernetes-version", version, *locations, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-4000:]


def test_all_versions_that_there_are_schemas_of_are_tested(kubernetes_schemas: Path) -> None:
    mark = test_kubernetes_would_take_every_object.pytestmark[0]  # type: ignore[attr-defined]  # set by the decorator
    assert sorted(path.name[1:] for path in kubernetes_schemas.glob("v*")) == sorted(mark.args[1])


def test_a_restricted_namespace_admits_every_pod(objects: list[Object]) -> None:
    for _, pod in pods(objects):
        spec = pod["spec"]
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context.get("runAsUser", 1) > 0
        assert context["seccompProfile"]["type"] in ("RuntimeDefault", "Localhost")
        assert not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC"))
        allowed = {
            "configMap",
            "csi",
            "downwardAPI",
            "emptyDir",
            "ephemeral",
            "persistentVolumeClaim",
            "projected",
            "secret",
        }
        assert {key for volume in spec["volumes"] for key in volume} - {"name"} <= allowed
        for container in spec["containers"]:
            own = container["securityContext"]
            assert own == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert not any("hostPort" in port for port in container.get("ports", []))


def test_no_pod_gets_a_token_of_kubernetes_or_the_addresses_of_services(objects: list[Object]) -> None:
    for _, pod in pods(objects):
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert pod["spec"]["enableServiceLinks"] is False


def test_every_container_says_what_it_needs(objects: list[Object]) -> None:
    for _, pod in pods(objects):
        for container in pod["spec"]["containers"]:
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
            assert "memory" in container["resources"]["limits"]


def test_secrets_come_as_files_that_are_there(objects: list[Object]) -> None:
    secret = {"RELAY_ADMIN_TOKEN", "RELAY_SECRET_KEYS", "RELAY_METRICS_TOKEN", "RELAY_TOKEN"}
    for _, pod in pods(objects):
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        for container in pod["spec"]["containers"]:
            assert not any("valueFrom" in each for each in container.get("env", []))
            assert not secret & environment(container).keys()
            mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
            for name, path in environment(container).items():
                if name.endswith("_FILE"):
                    folder, _, file = path.rpartition("/")
                    volume = mounts[folder]
                    sources = (
                        [each["secret"] for each in volume["projected"]["sources"]]
                        if "projected" in volume
                        else [volume["secret"]]
                    )
                    assert file in [item["path"] for source in sources for item in source["items"]]


def test_every_setting_that_is_given_is_one(objects: list[Object]) -> None:
    names = {setting.name for setting in SETTINGS}
    known = names | {f"{name}_FILE" for name in names}
    given = {
        name for _, pod in pods(objects) for container in pod["spec"]["containers"] for name in environment(container)
    }
    given |= {
        name
        for each in kind(objects, "ConfigMap")
        if each["metadata"]["name"].endswith("-settings")
        for name in each["data"]
    }
    assert {name for name in given if name.startswith("RELAY_")} <= known


def test_every_setting_of_the_chart_can_be_read_by_the_relay(rendered: dict[str, list[Object]]) -> None:
    (settings,) = (each for each in kind(rendered["every setting"], "ConfigMap"))
    read = {setting.name: setting.parse for setting in SETTINGS}
    assert len(settings["data"]) == 9
    for name, text in settings["data"].items():
        read[name](text)
    addresses = {
        environment(container).get("RELAY_REDIS_URL", "redis://a-secret-holds-it")
        for objects in rendered.values()
        for _, pod in pods(objects)
        for container in pod["spec"]["containers"]
    }
    assert len(addresses) > 3
    for address in addresses:
        read["RELAY_REDIS_URL"](address)


def test_only_the_api_and_the_jobs_hold_the_admin_token(objects: list[Object]) -> None:
    for component, pod in pods(objects):
        if component not in ("api", "job"):
            assert "admin-token" not in yaml.safe_dump(pod["spec"]["volumes"])
            assert "RELAY_ADMIN_TOKEN_FILE" not in environment(pod["spec"]["containers"][0])


def test_every_mount_has_its_volume_and_every_volume_its_mount(objects: list[Object]) -> None:
    for _, pod in pods(objects):
        mounted = {mount["name"] for container in pod["spec"]["containers"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["spec"]["volumes"]}


def test_selectors_find_their_pods_and_no_others(objects: list[Object]) -> None:
    labels = {component: pod["metadata"]["labels"] for component, pod in pods(objects)}

    def found(selector: dict[str, str]) -> set[str]:
        return {component for component, own in labels.items() if selector.items() <= own.items()}

    for component, deployment in by_component(objects).items():
        assert found(deployment["spec"]["selector"]["matchLabels"]) == {component}
    for service in kind(objects, "Service"):
        if "stands-in-for" not in service["metadata"].get("annotations", {}):
            assert found(service["spec"]["selector"]) == {"api"}
    for budget in kind(objects, "PodDisruptionBudget"):
        assert len(found(budget["spec"]["selector"]["matchLabels"])) == 1


def test_selectors_hold_nothing_that_an_upgrade_changes(objects: list[Object]) -> None:
    for deployment in kind(objects, "Deployment"):
        assert deployment["spec"]["selector"]["matchLabels"].keys() == {
            "app.kubernetes.io/name",
            "app.kubernetes.io/instance",
            "app.kubernetes.io/component",
        }


def test_names_are_unique_and_short_enough(objects: list[Object]) -> None:
    names = [(each["kind"], each["metadata"]["name"]) for each in objects]
    assert len(names) == len(set(names))
    assert all(len(name) <= 63 for _, name in names)


def test_each_role_runs_by_itself(rendered: dict[str, list[Object]]) -> None:
    deployments = by_component(rendered["as little as possible"])
    arguments = {
        component: each["spec"]["template"]["spec"]["containers"][0]["args"] for component, each in deployments.items()
    }
    assert arguments == {
        "api": ["api"],
        "scheduler": ["scheduler"],
        "poll": ["worker", "--queues=poll", "--processes=1"],
        "deliver": ["worker", "--queues=deliver", "--processes=1"],
        "maintain": ["worker", "--queues=maintain", "--processes=1"],
    }


def test_roles_without_a_port_are_probed_by_their_heartbeat(objects: list[Object]) -> None:
    for component, deployment in by_component(objects).items():
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        if component == "api":
            assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
            assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        else:
            role = "scheduler" if component == "scheduler" else "worker"
            for probe in ("startupProbe", "livenessProbe"):
                assert container[probe]["exec"]["command"] == ["relay", "health", role]


def test_an_upgrade_takes_no_pod_away_before_the_next_is_ready(objects: list[Object]) -> None:
    for deployment in kind(objects, "Deployment"):
        assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("as little as possible", {"api": 35, "scheduler": 15, "poll": 30, "deliver": 30, "maintain": 30}),
        ("a long attempt", {"api": 135, "scheduler": 15, "poll": 30, "deliver": 135, "maintain": 30}),
        ("a short attempt", {"api": 35, "scheduler": 15, "poll": 30, "deliver": 30, "maintain": 30}),
        ("grace by hand", {"api": 90, "scheduler": 15, "poll": 30, "deliver": 90, "maintain": 30}),
        ("no preStop", {"api": 30, "scheduler": 15, "poll": 30, "deliver": 30, "maintain": 30}),
    ],
)
def test_grace_times_follow_from_the_attempt_timeout(
    rendered: dict[str, list[Object]], name: str, expected: dict[str, int]
) -> None:
    found = {
        component: each["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        for component, each in by_component(rendered[name]).items()
    }
    assert found == expected


def test_a_worker_ends_by_itself_before_kubernetes_ends_it(objects: list[Object]) -> None:
    for component, deployment in by_component(objects).items():
        if component in ("poll", "deliver", "maintain"):
            grace_s = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
            settings = [
                each["data"] for each in kind(objects, "ConfigMap") if each["metadata"]["name"].endswith("-settings")
            ]
            timeout_s = parse_duration(settings[0].get("RELAY_ATTEMPT_TIMEOUT", "15s")).total_seconds()
            post = Post(settings=Settings(attempt_timeout_s=timeout_s), kind=component, concurrency=1)
            assert grace_s >= post.end_s + 5


def test_a_changed_setting_restarts_the_pods_and_a_changed_label_of_the_chart_does_not(
    rendered: dict[str, list[Object]],
) -> None:
    def templates(name: str) -> list[Object]:
        return [each["spec"]["template"] for each in kind(rendered[name], "Deployment")]

    plain = templates("as little as possible")
    assert all(
        a["metadata"]["annotations"] != b["metadata"]["annotations"]
        for a, b in zip(plain, templates("every setting"), strict=True)
    )
    assert all("helm.sh/chart" not in each["metadata"]["labels"] for each in plain)


def test_who_is_scaled_has_no_number_of_its_own(rendered: dict[str, list[Object]]) -> None:
    for name in ("hpa", "keda by metrics", "keda by the queue", "hpa here, keda there"):
        objects = rendered[name]
        scaled = {
            each["spec"]["scaleTargetRef"]["name"]
            for each in kind(objects, "HorizontalPodAutoscaler") + kind(objects, "ScaledObject")
        }
        assert scaled
        for deployment in kind(objects, "Deployment"):
            assert ("replicas" in deployment["spec"]) == (deployment["metadata"]["name"] not in scaled)


def test_keda_looks_at_what_moves_or_at_the_queue(rendered: dict[str, list[Object]]) -> None:
    by_metrics = {
        each["metadata"]["name"]: each["spec"]["triggers"][0]
        for each in kind(rendered["keda by metrics"], "ScaledObject")
    }
    poll = by_metrics["r-clopos-relay-poll"]
    assert 'relay_overdue_seconds{queue="poll"}' in poll["metadata"]["query"]
    assert (poll["metricType"], poll["metadata"]["threshold"]) == ("Value", "5")
    assert by_metrics["r-clopos-relay-deliver"]["metricType"] == "AverageValue"
    assert "relay_backlog_deliveries" in by_metrics["r-clopos-relay-deliver"]["metadata"]["query"]
    by_queue = {
        each["metadata"]["name"]: each["spec"]["triggers"][0]
        for each in kind(rendered["keda by the queue"], "ScaledObject")
    }
    assert by_queue["r-clopos-relay-deliver"]["type"] == "redis"
    assert by_queue["r-clopos-relay-deliver"]["metadata"]["listName"] == f"rq:queue:{queue_name('deliver')}"
    assert (
        by_queue["r-clopos-relay-deliver"]["authenticationRef"]["name"]
        == kind(rendered["keda by the queue"], "TriggerAuthentication")[0]["metadata"]["name"]
    )
    (sentinel,) = kind(rendered["keda by the queue behind sentinels"], "ScaledObject")
    assert sentinel["spec"]["triggers"][0]["type"] == "redis-sentinel"


@pytest.mark.parametrize("monitor", [True, False])
def test_prometheus_understands_the_queries_of_keda(
    helm: Any, tool: Callable[[str], str], tmp_path: Path, *, monitor: bool
) -> None:
    objects = helm.template(
        merged(merged(ENOUGH, CHANGES["keda by metrics"]), {"serviceMonitor": {"enabled": monitor}})
    )
    queries = [each["spec"]["triggers"][0]["metadata"]["query"] for each in kind(objects, "ScaledObject")]
    assert ['namespace="relay",service="r-clopos-relay"' in query for query in queries] == [monitor, monitor]
    rules = [{"record": f"keda:{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "keda", "rules": rules}]}))
    result = subprocess.run(
        [tool("promtool"), "check", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_job_applies_the_yaml_with_the_secrets_it_names(rendered: dict[str, list[Object]]) -> None:
    objects = rendered["apply"]
    (job,) = kind(objects, "Job")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "post-install,post-upgrade"
    spec = job["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["args"] == ["apply", "/etc/clopos-relay/apply/relay.yaml"]
    assert environment(container)["RELAY_URL"] == "http://r-clopos-relay:8080"
    assert "/run/secrets/clopos" in [mount["mountPath"] for mount in container["volumeMounts"]]
    (config,) = (each for each in kind(objects, "ConfigMap") if each["metadata"]["name"] == "r-clopos-relay-apply")
    assert yaml.safe_load(config["data"]["relay.yaml"]) == BRANDS
    (elsewhere,) = kind(rendered["apply from elsewhere, pruning"], "Job")
    (container,) = elsewhere["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["apply", "/etc/clopos-relay/apply/all.yaml", "--prune"]


def test_traces_are_sent_where_the_values_say_and_let_through(rendered: dict[str, list[Object]]) -> None:
    for pod in by_component(rendered["traces, with a policy"]).values():
        (container,) = pod["spec"]["template"]["spec"]["containers"]
        assert environment(container)["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://collector.monitoring:4318"
    (policy,) = (
        each
        for each in kind(rendered["traces, with a policy"], "NetworkPolicy")
        if each["metadata"]["name"].endswith("-tracing")
    )
    (egress,) = policy["spec"]["egress"]
    assert egress == {"to": [{"namespaceSelector": {}}], "ports": [{"protocol": "TCP", "port": 4318}]}


def test_neither_metrics_nor_probes_are_let_in_from_outside(rendered: dict[str, list[Object]]) -> None:
    (ingress,) = kind(rendered["ingress"], "Ingress")
    paths = {path["path"] for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]}
    assert paths == {"/v1", "/ui", "/docs", "/openapi.json"}


def _egress(objects: list[Object], component: str) -> list[Object]:
    """The egress rules that hold for a component's pods."""
    found = []
    for policy in kind(objects, "NetworkPolicy"):
        selector = policy["spec"]["podSelector"]
        wanted = selector.get("matchLabels", {}).get("app.kubernetes.io/component", component)
        among = [each["values"] for each in selector.get("matchExpressions", [])]
        if wanted == component and all(component in values for values in among):
            found += policy["spec"].get("egress", [])
    return found


def _reaches(rules: list[Object], address: str) -> bool:
    ip = ipaddress.ip_address(address)
    blocks = [peer["ipBlock"] for rule in rules for peer in rule["to"] if "ipBlock" in peer]
    return any(
        ip in ipaddress.ip_network(block["cidr"])
        and not any(ip in ipaddress.ip_network(hole) for hole in block.get("except", []))
        for block in blocks
    )


PRIVATE = [
    "0.0.0.1",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.8",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "fc00::1",
    "fd12::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "::ffff:10.0.0.1",
    "64:ff9b::a00:1",
    "64:ff9b:1::1",
    "2002:a00:1::1",
    "2001::1",
    "3fff::1",
    "5f00::1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_the_network_policy_lets_nobody_reach_a_private_address(
    rendered: dict[str, list[Object]], address: str
) -> None:
    for component in ("api", "scheduler", "poll", "deliver", "maintain", "job"):
        assert not _reaches(_egress(rendered["network policy"], component), address)


def test_the_network_policy_lets_workers_reach_the_internet_and_the_scheduler_redis_alone(
    rendered: dict[str, list[Object]],
) -> None:
    objects = rendered["network policy with own ranges"]
    for address in ("93.184.216.34", "2606:2800:220:1::1", "10.1.2.3", "10.9.9.9"):
        assert _reaches(_egress(objects, "deliver"), address)
    for address in ("198.51.77.1", "2a00::1"):
        assert not _reaches(_egress(objects, "deliver"), address)
    assert _reaches(_egress(objects, "scheduler"), "10.9.9.9")
    assert not _reaches(_egress(objects, "scheduler"), "93.184.216.34")


def test_no_worker_reaches_the_admin_port(rendered: dict[str, list[Object]]) -> None:
    objects = rendered["network policy"]
    labels = {component: pod["metadata"]["labels"] for component, pod in pods(objects)}
    ingress = [policy for policy in kind(objects, "NetworkPolicy") if "Ingress" in policy["spec"]["policyTypes"]]
    admitted = [
        peer["podSelector"]["matchLabels"]
        for policy in ingress
        for rule in policy["spec"].get("ingress", [])
        for peer in rule["from"]
        if "podSelector" in peer
    ]
    for component, own in labels.items():
        assert any(selector.items() <= own.items() for selector in admitted) == (component == "job")
        covered = [policy for policy in ingress if policy["spec"]["podSelector"]["matchLabels"].items() <= own.items()]
        assert covered, f"nothing keeps callers from {component}"


def test_valkey_is_reached_where_its_own_chart_puts_it(rendered: dict[str, list[Object]]) -> None:
    objects = rendered["valkey with a policy"]
    (service,) = (
        each for each in kind(objects, "Service") if "stands-in-for" in each["metadata"].get("annotations", {})
    )
    (container,) = by_component(objects)["deliver"]["spec"]["template"]["spec"]["containers"]
    assert (
        environment(container)["RELAY_REDIS_URL"]
        == f"redis://{service['metadata']['name']}:{service['spec']['ports'][0]['port']}/0"
    )
    peers = [peer for rule in _egress(objects, "deliver") for peer in rule["to"] if "podSelector" in peer]
    assert any(peer["podSelector"]["matchLabels"].items() <= service["metadata"]["labels"].items() for peer in peers)


def test_rules_and_dashboards_arrive_as_they_are(rendered: dict[str, list[Object]], chart_folder: Path) -> None:
    (rules,) = kind(rendered["rules"], "PrometheusRule")
    written = [
        rule
        for name in ("recording.yaml", "alerts.yaml")
        for group in yaml.safe_load((chart_folder / "rules" / name).read_text())["groups"]
        for rule in group["rules"]
    ]
    arrived = [rule for group in rules["spec"]["groups"] for rule in group["rules"]]
    assert arrived == [rule for rule in written if rule.get("alert") != "RelayBrandStale"]
    maps = [
        each for each in kind(rendered["dashboards"], "ConfigMap") if "grafana_dashboard" in each["metadata"]["labels"]
    ]
    assert {name: text.strip() for each in maps for name, text in each["data"].items()} == {
        path.name: path.read_text().strip() for path in (chart_folder / "dashboards").glob("*.json")
    }


def test_runbooks_lead_where_the_values_say(helm: Any) -> None:
    values = merged(ENOUGH, {"prometheusRule": {"enabled": True, "runbookUrl": "https://docs.example/operations"}})
    (rules,) = kind(helm.template(values), "PrometheusRule")
    links = [
        rule["annotations"]["runbook_url"]
        for group in rules["spec"]["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]
    assert links
    assert all(link.startswith("https://docs.example/operations#relay") for link in links)


def test_the_notes_name_the_next_two_commands(helm: Any) -> None:
    notes = helm.notes(merged(ENOUGH, CHANGES["apply"]))
    commands = [line.strip() for line in notes.splitlines() if line.startswith("  ")]
    assert commands == [
        "helm test r --namespace relay",
        "kubectl exec --namespace relay deploy/r-clopos-relay-api -- relay brands",
    ]
    assert "port-forward" in helm.notes(ENOUGH)
    assert "Before real data" in helm.notes(merged(ENOUGH, CHANGES["inline secrets"]))


def test_an_older_kubernetes_is_refused(helm: Any) -> None:
    with pytest.raises(RuntimeError, match="kubeVersion"):
        helm.template(ENOUGH, options=("--kube-version", "1.29.0"))
    helm.template(ENOUGH, options=("--kube-version", "v1.30.4-eks-1234"))


def test_chart_and_package_have_one_version(root_folder: Path, chart_folder: Path) -> None:
    chart = yaml.safe_load((chart_folder / "Chart.yaml").read_text())
    assert f'version = "{chart["appVersion"]}"' in (root_folder / "pyproject.toml").read_text()
