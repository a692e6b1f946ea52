"""What happens when a subscription is disabled or enabled?  The document, its lane's gate, and who is told."""

from collections.abc import Callable
from dataclasses import replace

from relay import logs
from relay.core.errors import NotFoundError
from relay.core.events import rfc3339, subscription_disabled, subscription_enabled, subscription_subject
from relay.pipeline.commit import Committer, OperationalEvent
from relay.store.audit import AuditStore, Entry
from relay.store.documents import Stored, Write
from relay.store.subscriptions import Status, Subscription, SubscriptionStore


def name_of(subscription: Subscription) -> str | None:
    """The name that is unique among subscriptions."""
    return subscription.name


class SubscriptionLife:
    """Changes the status of subscriptions; the one place that tells of it."""

    def __init__(
        self,
        *,
        subscriptions: SubscriptionStore,
        committer: Committer,
        audit: AuditStore,
        now_ms: Callable[[], int],
    ) -> None:
        self._subscriptions = subscriptions
        self._committer = committer
        self._audit = audit
        self._now_ms = now_ms

    async def disable(self, subscription_id: str, reason: str) -> None:
        """Disable it, as the relay itself does: events go on queuing, nothing is sent. Twice is once."""
        try:
            before, stored, at_ms = await self._set_status(subscription_id, "disabled", reason=reason)
        except NotFoundError:
            return
        await self.announce(before, stored.value, at_ms=at_ms)
        if before.status != "disabled":
            target = subscription_subject(subscription_id)
            await self._audit.note(Entry(actor="system", action="subscription.disable", target=target, reason=reason))

    async def set_status(
        self, subscription_id: str, status: Status, *, reason: str | None = None, if_version: int | None = None
    ) -> Stored[Subscription]:
        """Make it active, paused or disabled.

        Raises:
            NotFoundError: there is no such subscription.
            VersionMismatch: it is no longer at ``if_version``.
        """
        before, stored, at_ms = await self._set_status(subscription_id, status, reason=reason, if_version=if_version)
        await self.announce(before, stored.value, at_ms=at_ms)
        return stored

    async def _set_status(
        self, subscription_id: str, status: Status, *, reason: str | None, if_version: int | None = None
    ) -> tuple[Subscription, Stored[Subscription], int]:
        at_ms = self._now_ms()
        before: list[Subscription] = []

        def change(present: Subscription) -> Write[Subscription]:
            before[:] = [present]
            if present.status == status:
                return Write(present, name=present.name)
            return with_status(present, status, reason=reason, at_ms=at_ms)

        stored = await self._subscriptions.update(subscription_id, change, name_of=name_of, if_version=if_version)
        return before[0], stored, at_ms

    async def announce(self, before: Subscription, after: Subscription, *, at_ms: int) -> None:
        """Tell who asked for it that a subscription was disabled, or is enabled again."""
        if (before.status == "disabled") == (after.status == "disabled"):
            return
        if after.status == "disabled":
            made = subscription_disabled(
                subscription=after.id,
                name=after.name,
                reason=after.disabled_reason or "by the operator",
                since_ms=at_ms,
            )
        else:
            made = subscription_enabled(
                subscription=after.id, name=after.name, reason=before.disabled_reason, since_ms=at_ms
            )
        logs.event(made.type, subscription=after.id, reason=after.disabled_reason or before.disabled_reason)
        await self._committer.operational(
            OperationalEvent(
                type=made.type,
                subject=subscription_subject(after.id),
                partner=after.partner,
                about=after.id,
                data=made.data,
                nonce=str(at_ms),
            )
        )


def with_status(present: Subscription, status: Status, *, reason: str | None, at_ms: int) -> Write[Subscription]:
    """Decide what to write for a change of status."""
    disabled = status == "disabled"
    changed = replace(
        present,
        status=status,
        disabled_reason=(reason or "by the operator") if disabled else None,
        disabled_at=rfc3339(at_ms) if disabled else None,
        updated_at=rfc3339(at_ms),
    )
    return Write(changed, name=changed.name, gate=changed.gate)
