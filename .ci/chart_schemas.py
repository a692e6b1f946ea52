"""Where does kubeconform find its schemas without a network?

Usage: chart_schemas.py OUT KUBERNETES_JSON_SCHEMA CRD.yaml…

Writes `OUT/v1.NN.0/KIND-GROUP-VERSION.json` from the folder that the PyPI package `kubernetes-validate` bundles (its
references lead to a server, kubeconform's must lead to a file), and `OUT/crd/…` from the CRDs' own openAPIV3Schema.
"""
# ruff: noqa: INP001, T201  a script, not a package: it prints what it did

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import yaml

OLDEST: Final = (1, 30)
"""The chart's kubeVersion."""

_ELSEWHERE: Final = "/api/_definitions.json#"


def local(schema: Any) -> Any:
    """A schema whose references lead to the file beside it."""
    if isinstance(schema, dict):
        return {
            key: value.replace(_ELSEWHERE, "_definitions.json#") if isinstance(value, str) else local(value)
            for key, value in schema.items()
            if not (key == "$id" and isinstance(value, str))
        }
    return [local(each) for each in schema] if isinstance(schema, list) else schema


def closed(schema: Any) -> Any:
    """A CRD's schema that refuses what it does not name, as the API server would drop it."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(value) for key, value in schema.items()}
    open_by_will = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if schema.get("type") == "object" and isinstance(schema.get("properties"), dict) and not open_by_will:
        result["additionalProperties"] = False
    if schema.get("x-kubernetes-int-or-string"):
        result["type"] = ["integer", "string"]
    return result


def crd_schemas(path: Path) -> dict[str, Any]:
    """File name → schema, for every version that a CRD serves."""
    found = {}
    for crd in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        names, group = crd["spec"]["names"], crd["spec"]["group"]
        for version in crd["spec"]["versions"]:
            schema = closed(version["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"type": "object"}
            found[f"{names['kind'].lower()}-{group.split('.')[0]}-{version['name']}.json"] = schema
    return found


def main(arguments: list[str]) -> int:
    """Write everything."""
    out, bundled, *crds = (Path(argument) for argument in arguments)
    versions = []
    for folder in bundled.glob("v*-local-strict"):
        version = folder.name.removesuffix("-local-strict")
        if tuple(int(part) for part in version[1:].split(".")[:2]) < OLDEST:
            continue
        versions.append(version)
        target = out / version
        target.mkdir(parents=True, exist_ok=True)
        for path in folder.glob("*.json"):
            (target / path.name).write_text(
                json.dumps(local(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8"
            )
    (out / "crd").mkdir(parents=True, exist_ok=True)
    for crd in crds:
        for name, schema in crd_schemas(crd).items():
            (out / "crd" / name).write_text(json.dumps(schema), encoding="utf-8")
    print(f"schemas of Kubernetes {', '.join(sorted(versions))} and of {len(crds)} CRDs in {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
