"""Where does an answer lead?  Links (OpenAPI 3.1) from what is made or listed to what can be done with it."""

from collections.abc import Sequence
from typing import Any

from relay.api.operations import Operation


def links_from(operation: Operation, operations: Sequence[Operation]) -> dict[str, Any]:
    """Links from an operation's answer, by the name of the operation that they lead to."""
    if operation.name == "replay":
        return _links("/v1/replays/{id}", {"id": "$response.body#/replay_id"}, operations)
    variable = "brand" if operation.path == "/v1/brands" else "id"
    if operation.path.count("/") != 2 or operation.answer is None:  # noqa: PLR2004  (/v1/things)
        return {}
    place = f"$response.body#/{variable}" if operation.method == "POST" else f"$response.body#/data/0/{variable}"
    found = _links(f"{operation.path}/{{{variable}}}", {variable: place}, operations)
    return {name: link for name, link in found.items() if not name.startswith(("delete_", "revoke_"))}


def _links(path: str, parameters: dict[str, str], operations: Sequence[Operation]) -> dict[str, Any]:
    """All operations at that path, and below it where nothing more has to be known."""
    return {
        each.name: {"operationId": each.name, "parameters": parameters}
        for each in operations
        if each.path == path or (each.path.startswith(f"{path}/") and "{" not in each.path.removeprefix(path))
    }
