"""What does the page do that the API does not?  Let in, and show whose order it is: both are in the audit log."""

from typing import Final

from relay.api.operations import EVERYBODY, READERS, Call, Nothing, Operation, Reply
from relay.api.problems import not_found
from relay.api.ui.rendering import PREFIX


async def _nothing(_call: Call) -> Reply:
    return Reply()


async def _reveal_event(call: Call) -> Reply:
    if await call.services.log.position_of(call.path["id"]) is None:
        raise not_found("event")
    return Reply(target=f"event/{call.path['id']}")


async def _reveal_delivery(call: Call) -> Reply:
    return Reply(target=f"delivery/{call.path['id']}")


SIGN_IN: Final = Operation(
    method="POST",
    path=f"{PREFIX}/sign-in",
    name="sign_in",
    tag="ui",
    summary="Sign in to the page",
    handler=_nothing,
    roles=EVERYBODY,
    body=Nothing,
    action="ui.sign_in",
)
REVEAL_EVENT: Final = Operation(
    method="POST",
    path=f"{PREFIX}/events/{{id}}/reveal",
    name="reveal_event",
    tag="ui",
    summary="Show the customer of an event's order",
    handler=_reveal_event,
    roles=READERS,
    body=Nothing,
    action="customer.reveal",
)
REVEAL_DELIVERY: Final = Operation(
    method="POST",
    path=f"{PREFIX}/deliveries/{{id}}/reveal",
    name="reveal_delivery",
    tag="ui",
    summary="Show the customer in what was sent",
    description="Whether the delivery may be seen at all is asked first, of the operation that shows it.",
    handler=_reveal_delivery,
    roles=EVERYBODY,
    body=Nothing,
    action="customer.reveal",
)
OWN: Final = (SIGN_IN, REVEAL_EVENT, REVEAL_DELIVERY)
