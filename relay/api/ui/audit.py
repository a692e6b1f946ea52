"""The audit log: who changed what, when, and from where."""

from starlette.responses import Response

from relay.api.ui.visits import Visit


async def show(visit: Visit) -> Response:
    """The newest first."""
    cursor = visit.param("cursor")
    found = await visit.ask("list_audit", query={"cursor": cursor} if cursor else {})
    return visit.show("audit.html", entries=found["data"], next_cursor=found["next_cursor"], first_page=not cursor)
