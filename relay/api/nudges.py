"""Who is told that there is work in the background?  A hint: what is due is found without it, only later."""

from relay import logs
from relay.api.services import Services
from relay.store.away import STORE_ERRORS


async def nudge(services: Services, task: str) -> None:
    """Have a background task run now. What was done before stays done if this fails."""
    try:
        await services.maintenance.hurry(task)
    except STORE_ERRORS as error:
        logs.event("task not hurried", level="warning", exc=error, task=task)
    await services.wake("maintain")
