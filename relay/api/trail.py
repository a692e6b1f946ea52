"""Who did what, or was refused?  Into the audit log: every change; and refusals, so many a minute."""

from collections.abc import Callable, Iterable
from typing import Final

from starlette.requests import Request

from relay import logs
from relay.api.auth import Principal
from relay.api.operations import Operation
from relay.api.problems import ProblemError
from relay.store.audit import MOST_FIELDS, AuditStore, Entry

REFUSALS_A_MINUTE: Final = 30
"""Of all callers together, in this process; more are only in the log, so that nobody flushes the audit log."""


class Trail:
    """Writes the audit log. A change whose entry cannot be written is done all the same, and logged."""

    def __init__(self, audit: AuditStore, *, now_ms: Callable[[], int]) -> None:
        self._audit = audit
        self._now_ms = now_ms
        self._minute = 0
        self._refusals = 0

    async def done(
        self, operation: Operation, principal: Principal, request: Request, target: str | None, fields: Iterable[str]
    ) -> None:
        """Note a change."""
        await self._write(
            _entry(operation, principal, request, target=target, fields=tuple(sorted(fields))[:MOST_FIELDS])
        )

    async def refused(
        self, operation: Operation, principal: Principal | None, request: Request, problem: ProblemError
    ) -> None:
        """Note what a known caller tried beyond its rights: a 403, or a 404 for another's thing."""
        if principal is None or not (problem.kind.code == "forbidden" or problem.hidden):
            return
        minute = self._now_ms() // 60_000
        if minute != self._minute:
            self._minute, self._refusals = minute, 0
        self._refusals += 1
        logs.event("refused", level="warning", operation=operation.name, caller=principal.caller)
        if self._refusals <= REFUSALS_A_MINUTE:
            await self._write(
                _entry(
                    operation, principal, request, target=problem.hidden, outcome="refused", reason=problem.kind.code
                )
            )

    async def _write(self, entry: Entry) -> None:
        try:
            await self._audit.note(entry)
        except Exception as error:  # noqa: BLE001  (what was done is done; the log has the line instead)
            logs.event("audit entry lost", level="error", exc=error, action=entry.action, target=entry.target)


def _entry(
    operation: Operation,
    principal: Principal,
    request: Request,
    *,
    target: str | None,
    fields: tuple[str, ...] = (),
    outcome: str = "done",
    reason: str | None = None,
) -> Entry:
    return Entry(
        actor=principal.kind,
        actor_id=principal.id,
        actor_name=principal.name,
        partner=principal.partner,
        action=operation.action or operation.name,
        target=target,
        outcome=outcome,
        fields=fields,
        reason=reason,
        address=None if request.client is None else request.client.host,
        request=request.scope.get("relay.request_id"),
    )
