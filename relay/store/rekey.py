"""How do stored secrets change their key? Each is sealed anew with the first one, while everything goes on running."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from redis.asyncio import Redis

from relay.core.errors import CorruptStateError, NotFoundError
from relay.store import keys
from relay.store.away import STORE_ERRORS
from relay.store.brands import Brand, BrandStore
from relay.store.connection import Timeouts, open_redis
from relay.store.documents import Write
from relay.store.scripts import Scripts
from relay.store.subscriptions import Secret, Subscription, SubscriptionStore
from relay.store.vault import Vault

_SCAN = 500


@dataclass(frozen=True, slots=True)
class Rekeyed:
    """What was sealed anew.

    Attributes:
        answers: of requests with an Idempotency-Key, which may hold a secret that is shown once.
        lost: what none of the keys opens, as ``brand/openapitest``; left as it is.
    """

    brands: int
    subscriptions: int
    answers: int
    lost: tuple[str, ...]


async def rekey(redis: Redis, vault: Vault) -> Rekeyed:
    """Seal every stored secret anew with the first key.

    Clopos' tokens are not touched: they belong to a version of their brand, which ends here, and are fetched anew.

    Raises:
        VersionMismatch: something was changed too often meanwhile; to be run again.
    """
    lost: list[str] = []
    scripts = Scripts(redis)
    brands = await _rekey_brands(BrandStore(redis, scripts), vault, lost)
    subscriptions = await _rekey_subscriptions(SubscriptionStore(redis, scripts), vault, lost)
    answers = await _rekey_answers(redis, scripts, vault)
    return Rekeyed(brands, subscriptions, answers, tuple(lost))


async def find_lost(redis: Redis, vault: Vault) -> list[str]:
    """List what none of the keys opens, as ``brand/openapitest``: the key that sealed it is missing."""
    scripts = Scripts(redis)
    brands, subscriptions = BrandStore(redis, scripts), SubscriptionStore(redis, scripts)
    found = [(f"brand/{name}", [stored.value.client_secret]) for name, stored in (await brands.all()).items()]
    found += [(f"subscription/{name}", _sealed(stored.value)) for name, stored in (await subscriptions.all()).items()]
    return [name for name, tokens in found if not all(_opens(vault, token) for token in tokens)]


async def find_lost_at(url: str, vault: Vault) -> list[str]:
    """Do the same before anything is opened; a Redis that is away has nothing to say yet."""
    redis = open_redis(url, timeouts=Timeouts(connect_s=3.0, socket_s=5.0, pool_s=5.0))
    try:
        return await find_lost(redis, vault)
    except STORE_ERRORS:
        return []
    finally:
        await redis.aclose()


async def forget_lost(redis: Redis, vault: Vault, *, new_secret: Callable[[str], str], now: str) -> list[str]:
    """Give up what none of the keys opens: disabled, with nothing or something new in its place.

    Args:
        redis: where it is stored.
        vault: has the keys that are left.
        new_secret: makes one for a signature, ``v1`` or ``v1a``.
        now: RFC 3339, UTC.

    Returns:
        What was given up, as ``brand/openapitest``.
    """
    scripts = Scripts(redis)
    brands, subscriptions = BrandStore(redis, scripts), SubscriptionStore(redis, scripts)
    lost = await find_lost(redis, vault)
    for name in lost:
        kind, _, document_id = name.partition("/")
        with contextlib.suppress(NotFoundError):  # deleted meanwhile
            if kind == "brand":
                await brands.update(
                    document_id,
                    lambda brand: Write(replace(brand, client_secret=vault.seal(""), enabled=False, updated_at=now)),
                    name_of=lambda _brand: None,
                )
            else:
                await subscriptions.update(
                    document_id,
                    lambda subscription: _disabled(subscription, vault.seal(new_secret(subscription.signature)), now),
                    name_of=lambda subscription: subscription.name,
                )
    return lost


def _disabled(subscription: Subscription, sealed: str, now: str) -> Write[Subscription]:
    disabled = replace(
        subscription,
        secrets=(Secret(sealed=sealed),),
        headers=None,
        status="disabled",
        disabled_reason="secrets_lost",
        disabled_at=now,
        updated_at=now,
    )
    return Write(disabled, name=disabled.name, gate=disabled.gate)


def _sealed(subscription: Subscription) -> list[str]:
    headers = [] if subscription.headers is None else [subscription.headers]
    return [*(secret.sealed for secret in subscription.secrets), *headers]


def _opens(vault: Vault, token: str) -> bool:
    try:
        vault.open(token)
    except CorruptStateError:
        return False
    return True


async def _rekey_brands(store: BrandStore, vault: Vault, lost: list[str]) -> int:
    def anew(brand: Brand) -> Write[Brand]:
        return Write(replace(brand, client_secret=vault.rotate(brand.client_secret)))

    done = 0
    for name in await store.all():
        try:
            await store.update(name, anew, name_of=lambda _brand: None)
            done += 1
        except CorruptStateError:
            lost.append(f"brand/{name}")
        except NotFoundError:  # deleted meanwhile
            continue
    return done


async def _rekey_subscriptions(store: SubscriptionStore, vault: Vault, lost: list[str]) -> int:
    def anew(subscription: Subscription) -> Write[Subscription]:
        headers = subscription.headers
        return Write(
            replace(
                subscription,
                secrets=tuple(replace(secret, sealed=vault.rotate(secret.sealed)) for secret in subscription.secrets),
                headers=None if headers is None else vault.rotate(headers),
            ),
            name=subscription.name,
        )

    done = 0
    for subscription_id in await store.all():
        try:
            await store.update(subscription_id, anew, name_of=lambda subscription: subscription.name)
            done += 1
        except CorruptStateError:
            lost.append(f"subscription/{subscription_id}")
        except NotFoundError:  # deleted meanwhile
            continue
    return done


async def _rekey_answers(redis: Redis, scripts: Scripts, vault: Vault) -> int:
    """Answers that no key opens are left: they are forgotten within a day."""
    untyped: Any = redis  # redis-py's annotations cannot say that replies are bytes
    done = 0
    async for request in untyped.scan_iter(match=keys.idempotency("*"), count=_SCAN):
        nonce, answer = await untyped.hmget(request, "nonce", "answer")
        if nonce is None or answer is None:
            continue
        try:
            sealed = vault.rotate(answer.decode())
        except CorruptStateError:
            continue
        done += await scripts.run("idempotency_end", [request.decode()], [nonce.decode(), sealed])
    return done


def describe(done: Rekeyed) -> str:
    """Write what was done, in lines for people."""
    lines = [f"sealed anew: {done.brands} brands, {done.subscriptions} subscriptions, {done.answers} kept answers"]
    lines += [
        f"{name}: none of the keys opens it; put the one that sealed it back and run this again" for name in done.lost
    ]
    return "\n".join(lines)
