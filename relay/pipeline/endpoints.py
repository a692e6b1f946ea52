"""What does sending to a subscription take?  Prepared once for each version of the subscriptions."""

from dataclasses import dataclass

import orjson

from relay import logs
from relay.core.addresses import Networks
from relay.core.errors import CorruptStateError
from relay.core.netpolicy import CheckedUrl, Refused, check_url
from relay.core.rates import Rate, parse_rate
from relay.core.retry import RetryPolicy
from relay.core.shaping import Shape
from relay.core.signing import SigningKey, parse_signing_key
from relay.store.subscriptions import Subscription, SubscriptionStore
from relay.store.vault import Vault


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A partner's endpoint, ready to be called.

    Attributes:
        url: a refusal where what was stored is not allowed any more: attempts say so, and nothing is sent.
        keys: with the epoch ms until which each signs, None for the present one.
        headers: those of every request to it.
        rate: None for no limit.
        shapes: how events are shaped from which position on, the last first.
    """

    subscription: Subscription
    url: CheckedUrl | Refused
    headers: dict[str, str]
    keys: tuple[tuple[SigningKey, int | None], ...]
    policy: RetryPolicy
    rate: Rate | None
    shapes: tuple[tuple[int, Shape], ...]

    def shape_at(self, position: int) -> Shape:
        """How the event at that position is shaped: as ``Subscription.shape_at``, without making anything."""
        for first, shape in self.shapes:
            if first <= position:
                return shape
        return self.shapes[-1][1]

    def keys_at(self, now_ms: float) -> list[SigningKey]:
        """The keys that sign now, the present one first."""
        return [key for key, until_ms in self.keys if until_ms is None or until_ms > now_ms]


class Endpoints:
    """Every subscription that is pushed to, as of an epoch."""

    def __init__(self, *, subscriptions: SubscriptionStore, vault: Vault, allow: Networks, policy: RetryPolicy) -> None:
        self._subscriptions = subscriptions
        self._vault = vault
        self._allow = allow
        self._policy = policy
        self._epoch = -1
        self._stored: dict[str, Subscription] = {}
        self._prepared: dict[str, Endpoint] = {}
        self._broken: set[str] = set()

    @property
    def epoch(self) -> int:
        """Version of the subscriptions that is held."""
        return self._epoch

    async def refresh(self, epoch: int | None = None) -> None:
        """Read the subscriptions again unless they are still at ``epoch``."""
        if epoch is not None and epoch == self._epoch:
            return
        self._epoch, stored = await self._subscriptions.snapshot()
        previous = self._stored
        self._stored = {key: document.value for key, document in stored.items()}
        self._broken.clear()
        # Unchanged subscriptions keep what was prepared for them: a thousand of them must not be parsed for one change.
        self._prepared = {
            key: endpoint for key, endpoint in self._prepared.items() if self._stored.get(key) == previous.get(key)
        }

    def get(self, subscription_id: str) -> Endpoint | None:
        """The endpoint, or None where there is nothing to push to, or it cannot be read."""
        prepared = self._prepared.get(subscription_id)
        if prepared is None:
            subscription = self._stored.get(subscription_id)
            if subscription is None or subscription.url is None or subscription_id in self._broken:
                return None
            try:
                prepared = self.prepare(subscription)
            except (CorruptStateError, ValueError) as error:
                self._broken.add(subscription_id)
                logs.event("subscription unreadable", level="error", exc=error, subscription=subscription_id)
                return None
            self._prepared[subscription_id] = prepared
        return prepared

    def prepare(self, subscription: Subscription) -> Endpoint:
        """Open the secrets of a subscription, and put together what every request to it has in common.

        Raises:
            CorruptStateError: a secret cannot be decrypted.
            ValueError: it has no URL, or its secret or rate is not one.
        """
        if subscription.url is None:
            raise ValueError("a subscription without url is pulled from, not pushed to")
        url = check_url(subscription.url, allow=self._allow)
        headers = {} if subscription.headers is None else orjson.loads(self._vault.open(subscription.headers))
        return Endpoint(
            subscription=subscription,
            url=url,
            headers={**headers, "relay-subscription": subscription.id},
            keys=tuple(
                (parse_signing_key(self._vault.open(secret.sealed)), secret.until_ms) for secret in subscription.secrets
            ),
            policy=self._policy
            if subscription.retry_schedule_s is None
            else RetryPolicy(subscription.retry_schedule_s, self._policy.jitter, self._policy.max_wait_s),
            rate=None if subscription.rate_limit is None else parse_rate(subscription.rate_limit),
            shapes=tuple(
                (int(since.position), Shape(since.redact, since.include_raw)) for since in reversed(subscription.shapes)
            ),
        )
