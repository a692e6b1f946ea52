from dataclasses import replace

from cryptography.fernet import Fernet
from redis.asyncio import Redis

from relay.store.brands import Brand, BrandStore
from relay.store.documents import Write
from relay.store.idempotency import Done, IdempotencyStore, Run
from relay.store.rekey import find_lost, forget_lost, rekey
from relay.store.scripts import Scripts
from relay.store.subscriptions import Secret, ShapeSince, Subscription, SubscriptionStore
from relay.store.vault import Vault

OLD, NEW, OTHER = (Fernet.generate_key().decode() for _ in range(3))
AT = "2026-02-02T13:46:05.120Z"


async def _fill(redis: Redis, scripts: Scripts, vault: Vault) -> None:
    brand = Brand(
        brand="openapitest",
        client_id="demo-client",
        client_secret=vault.seal("demo-secret"),
        integrator_id="demo-integrator",
        created_at=AT,
        updated_at=AT,
        generation="1",
    )
    await BrandStore(redis, scripts).create("openapitest", Write(brand))
    subscription = Subscription(
        id="sub_1",
        name="courier",
        event_types=("order.*",),
        secrets=(Secret(sealed=vault.seal("whsec_new")), Secret(sealed=vault.seal("whsec_old"), until_ms=1)),
        headers=vault.seal('{"x-key":"1"}'),
        shapes=(ShapeSince(position=0),),
        created_at=AT,
        updated_at=AT,
    )
    await SubscriptionStore(redis, scripts).create("sub_1", Write(subscription, name="courier", gate=""))
    answers = IdempotencyStore(scripts, vault)
    run = await answers.begin(caller="admin", key="k", fingerprint="f", nonce="0a")
    assert isinstance(run, Run)
    await answers.end(run, '{"secret":"whsec_new"}')


async def test_after_a_rekey_the_old_key_is_needed_no_more(redis: Redis) -> None:
    scripts = Scripts(redis)
    await _fill(redis, scripts, Vault([OLD]))
    done = await rekey(redis, Vault([NEW, OLD]))
    assert (done.brands, done.subscriptions, done.answers, done.lost) == (1, 1, 1, ())

    vault = Vault([NEW])
    brand = await BrandStore(redis, scripts).get("openapitest")
    subscription = await SubscriptionStore(redis, scripts).get("sub_1")
    assert brand is not None
    assert subscription is not None
    assert vault.open(brand.value.client_secret) == "demo-secret"
    assert [vault.open(secret.sealed) for secret in subscription.value.secrets] == ["whsec_new", "whsec_old"]
    assert subscription.value.headers is not None
    assert vault.open(subscription.value.headers) == '{"x-key":"1"}'
    assert await SubscriptionStore(redis, scripts).id_of("courier") == "sub_1"
    answer = await IdempotencyStore(scripts, vault).begin(caller="admin", key="k", fingerprint="f", nonce="0b")
    assert answer == Done('{"secret":"whsec_new"}')


async def test_a_rekey_run_twice_does_no_harm(redis: Redis) -> None:
    scripts = Scripts(redis)
    await _fill(redis, scripts, Vault([OLD]))
    for _ in range(2):
        assert (await rekey(redis, Vault([NEW, OLD]))).lost == ()


async def test_what_no_key_opens_is_listed_and_left_alone(redis: Redis) -> None:
    scripts = Scripts(redis)
    await _fill(redis, scripts, Vault([OLD]))
    store = BrandStore(redis, scripts)
    second = (await store.all())["openapitest"].value
    other = replace(second, brand="second", client_secret=Vault([OTHER]).seal("x"))
    await store.create("second", Write(other))

    done = await rekey(redis, Vault([NEW, OTHER]))
    assert done.lost == ("brand/openapitest", "subscription/sub_1")
    assert done.brands == 1
    assert (await store.all())["openapitest"].value == second


async def test_what_is_lost_can_be_given_up_and_is_disabled_then(redis: Redis) -> None:
    scripts = Scripts(redis)
    await _fill(redis, scripts, Vault([OLD]))
    brands, subscriptions, vault = BrandStore(redis, scripts), SubscriptionStore(redis, scripts), Vault([NEW])
    given_up = await forget_lost(redis, vault, new_secret=lambda signature: f"new {signature}", now=AT)
    assert given_up == ["brand/openapitest", "subscription/sub_1"]
    assert await find_lost(redis, vault) == []
    assert (await brands.all())["openapitest"].value.enabled is False
    subscription = (await subscriptions.all())["sub_1"].value
    assert (subscription.status, subscription.disabled_reason) == ("disabled", "secrets_lost")
    assert [vault.open(secret.sealed) for secret in subscription.secrets] == ["new v1"]


async def test_what_a_missing_key_sealed_is_found_at_the_start(redis: Redis) -> None:
    scripts = Scripts(redis)
    await _fill(redis, scripts, Vault([OLD]))
    assert await find_lost(redis, Vault([NEW, OLD])) == []
    assert await find_lost(redis, Vault([NEW])) == ["brand/openapitest", "subscription/sub_1"]
