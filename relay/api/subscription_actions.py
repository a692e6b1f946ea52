"""What is done to a subscription beside changing it?  Paused, resumed, tested, given a new secret."""

import time
from dataclasses import replace
from typing import Final

from relay import logs
from relay.api.fields import seconds
from relay.api.operations import PARTNERS, Call, Nothing, Operation, Reply, Rfc3339
from relay.api.problems import ProblemError, invalid
from relay.api.reach import reached
from relay.api.seals import is_sealed
from relay.api.subscription_answers import (
    EXAMPLE,
    EXAMPLE_WITH_SECRET,
    SubscriptionAnswer,
    SubscriptionWithSecret,
)
from relay.api.subscription_checks import is_secret_taken, secret_faults, taken_secret
from relay.api.subscription_documents import kept_secret, new_secret
from relay.api.subscription_models import RotateSecret
from relay.api.subscription_views import answers
from relay.api.subscriptions import reply
from relay.api.validation import Answer
from relay.api.versions import etag_of, version_wanted
from relay.core.deliveries import FRESH
from relay.core.events import committed, draft, rfc3339, subscription_subject, test_sent
from relay.pipeline.attempt import Head, attempt
from relay.pipeline.subscriptions import name_of
from relay.store.documents import Write
from relay.store.subscriptions import Status, Subscription

TEST_DEADLINE_S: Final = 330.0
"""Longer than any RELAY_ATTEMPT_TIMEOUT: the attempt has that as its own."""


class TestAnswer(Answer):
    """The one attempt of a test."""

    __test__ = False  # no test case, whatever pytest thinks of the name

    event: str
    """Id of the event that was sent: its ``webhook-id``."""
    success: bool
    """Whether it was answered with a 2xx."""
    at: Rfc3339
    """When it began."""
    number: int
    """Always 1."""
    status_code: int | None
    """Of the answer; null when none came."""
    error: str | None
    """One word and a sentence; null after a 2xx."""
    duration_ms: int
    """From the start to the last byte read."""
    response_excerpt: str | None
    """The beginning of the answer's body."""


async def pause(call: Call) -> Reply:
    """Send nothing until it is resumed; a disabled one stays disabled."""
    return await _set_status(call, "paused", unless="disabled")


async def resume(call: Call) -> Reply:
    """Send again: what has queued up, then what comes."""
    return await _set_status(call, "active")


async def _set_status(call: Call, status: Status, *, unless: Status | None = None) -> Reply:
    present = await reached(call, call.path["id"])
    version = version_wanted(call, present, generation=present.id)
    if present.value.status in (status, unless):
        return await reply(call, present, changed=False)
    stored = await call.services.life.set_status(present.id, status, if_version=version)
    if status == "active":
        await call.services.wake("deliver")
    return await reply(call, stored)


async def rotate(call: Call) -> Reply:
    """Give it a new secret; the old one signs on beside it for a while."""
    body, services = call.body_as(RotateSecret), call.services
    present = await reached(call, call.path["id"])
    version = version_wanted(call, present, generation=present.id)
    signature = present.value.signature
    if body.secret is not None:
        faults = secret_faults(body.secret, signature)
        if not faults and await is_secret_taken(
            services, body.secret, url=present.value.url, own_id=present.id, now_ms=call.now_ms
        ):
            faults = [taken_secret()]
        if faults:
            raise invalid(faults)
    secret = body.secret or new_secret(signature, call.nonce)
    kept = kept_secret(services, secret)
    until_ms = call.now_ms + int(seconds(body.overlap) * 1000)

    def rotated(subscription: Subscription) -> Write[Subscription]:
        if call.repeatable and is_sealed(services.vault, subscription.secrets[0].sealed, secret):
            return Write(subscription, name=subscription.name)  # done by a run of this request that was cut off
        old = subscription.secrets[0]
        running = any(each.until_ms is not None and each.until_ms > call.now_ms for each in subscription.secrets)
        if running and until_ms > call.now_ms:
            raise ProblemError(
                "conflict",
                "A rotation is running: wait until old_secret_until, or end it by rotating with overlap 0s.",
            )
        signing_on = (replace(old, until_ms=until_ms),) if until_ms > call.now_ms else ()
        changed = replace(subscription, secrets=(kept, *signing_on), updated_at=rfc3339(call.now_ms))
        return Write(changed, name=changed.name)

    stored = await services.subscriptions.update(present.id, rotated, name_of=name_of, if_version=version)
    (answer,) = await answers(services, [stored], now_ms=call.now_ms)
    return Reply(
        body=SubscriptionWithSecret(**dict(answer), secret=secret),
        etag=etag_of(stored, generation=stored.id),
        target=f"subscription/{stored.id}",
    )


async def test(call: Call) -> Reply:
    """Send ``relay.test`` now; the answer tells how that went, whatever it was."""
    services = call.services
    present = await reached(call, call.path["id"])
    if present.value.url is None:
        raise ProblemError("conflict", "It has no url: events are pulled from it, so there is nothing to test.")
    now_s = time.monotonic()
    wait_s = services.tests_of_one.wait_s(present.id, now_s=now_s) or services.tests_of_all.wait_s("", now_s=now_s)
    if wait_s:
        raise ProblemError("too_many_requests", "Tests are sent a few at a time.", headers={"retry-after": str(wait_s)})
    try:
        endpoint = services.endpoints.prepare(present.value)
    except ValueError as error:
        raise ProblemError("conflict", f"It cannot be sent to: {error}") from None
    made = draft(
        test_sent("This is a test."),
        brand=None,
        venue_id=None,
        subject=subscription_subject(present.id),
        origin="test",
        previous_id=call.nonce,  # tests are not one another's repeats: each has an id of its own
    )
    event = committed(made, position=0, sequence=call.now_ms, previous_sequence=None, timestamp_ms=call.now_ms)
    tried = await attempt(
        services.sender,
        endpoint,
        Head("", 0, FRESH, event),
        wall_s=lambda: services.now_ms() / 1000,
        timeout_s=services.attempt_timeout_s,
    )
    logs.event(
        "attempt",
        subscription=present.id,
        event_id=event.id,
        type=event.type,
        subject=event.subject,
        number=1,
        status_class=tried.outcome.status_class.value,
        status_code=tried.attempt.status_code,
        error=tried.attempt.error,
        duration_ms=tried.attempt.duration_ms,
    )
    return Reply(
        body=TestAnswer(
            event=event.id,
            success=tried.outcome.success,
            at=rfc3339(call.now_ms),
            number=1,
            status_code=tried.attempt.status_code,
            error=tried.attempt.error,
            duration_ms=tried.attempt.duration_ms,
            response_excerpt=tried.attempt.response_excerpt,
        ),
        target=f"subscription/{present.id}",
    )


OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/v1/subscriptions/{id}/test",
        name="test_subscription",
        tag="subscriptions",
        summary="Send a test",
        description="Also when it is paused or disabled. It is no delivery, and not in the ledger.",
        handler=test,
        roles=PARTNERS,
        body=Nothing,
        body_optional=True,
        answer=TestAnswer,
        problems=["not_found", "conflict", "too_many_requests"],
        action="subscription.test",
        deadline_s=TEST_DEADLINE_S,
        example={
            "event": "evt_0fkq3vq6m8t1c2d4e5g7h9i0j3k5l7n9",
            "success": True,
            "at": "2026-02-02T13:46:05.120Z",
            "number": 1,
            "status_code": 204,
            "error": None,
            "duration_ms": 41,
            "response_excerpt": "",
        },
    ),
    Operation(
        method="POST",
        path="/v1/subscriptions/{id}/pause",
        name="pause_subscription",
        tag="subscriptions",
        summary="Pause",
        description="Events go on queuing up, nothing is sent.",
        handler=pause,
        roles=PARTNERS,
        body=Nothing,
        body_optional=True,
        answer=SubscriptionAnswer,
        problems=["not_found", "precondition_failed"],
        action="subscription.pause",
        etag=True,
        conditional=True,
        example={**EXAMPLE, "state": {**EXAMPLE["state"], "status": "paused"}},
    ),
    Operation(
        method="POST",
        path="/v1/subscriptions/{id}/resume",
        name="resume_subscription",
        tag="subscriptions",
        summary="Resume",
        description="Ends being paused, or disabled; what has queued up is sent.",
        handler=resume,
        roles=PARTNERS,
        body=Nothing,
        body_optional=True,
        answer=SubscriptionAnswer,
        problems=["not_found", "precondition_failed"],
        action="subscription.resume",
        etag=True,
        conditional=True,
        example=EXAMPLE,
    ),
    Operation(
        method="POST",
        path="/v1/subscriptions/{id}/rotate-secret",
        name="rotate_secret",
        tag="subscriptions",
        summary="Rotate the secret",
        description="Requests are signed with both secrets until the overlap ends.",
        handler=rotate,
        roles=PARTNERS,
        body=RotateSecret,
        body_optional=True,
        answer=SubscriptionWithSecret,
        problems=["not_found", "conflict", "precondition_failed"],
        action="subscription.rotate",
        etag=True,
        conditional=True,
        example={**EXAMPLE_WITH_SECRET, "old_secret_until": "2026-02-03T13:46:05.120Z"},
        body_examples={"in a day": {"overlap": "24h"}, "at once": {"overlap": "0s"}},
    ),
)
