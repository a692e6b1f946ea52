"""What a command of the control side is, and how it reads what it was told."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

Act = Callable[[Request], Awaitable[dict[str, Any] | None]]


class NotUnderstoodError(ValueError):
    """A command's body or query makes no sense."""


@dataclass(frozen=True, slots=True)
class Command:
    """One route of the control side.

    Attributes:
        method: HTTP method.
        path: below ``/control``, in Starlette's notation.
        about: one line for the index page.
        act: does it, and answers the JSON object to send (None for a bare ``{"ok": true}``).
    """

    method: str
    path: str
    about: str
    act: Act


async def told(request: Request) -> dict[str, Any]:
    """The request's JSON object; an empty body is an empty object.

    Raises:
        NotUnderstoodError: the body is not a JSON object.
    """
    if not await request.body():
        return {}
    try:
        body = await request.json()
    except (ValueError, RecursionError):
        raise NotUnderstoodError("the body is not JSON") from None
    if not isinstance(body, dict):
        raise NotUnderstoodError("the body is not a JSON object")
    return body


def whole(value: Any, name: str) -> int:
    """An integer, also where it is spelt as text.

    Raises:
        NotUnderstoodError: it is none.
    """
    if isinstance(value, bool) or not (
        isinstance(value, int) or (isinstance(value, str) and value.lstrip("-").isdigit())
    ):
        raise NotUnderstoodError(f"{name} is a whole number")
    return int(value)


def only(body: dict[str, Any], *names: str) -> dict[str, Any]:
    """The body again, if it holds nothing but these names.

    Raises:
        NotUnderstoodError: it holds another; the message lists those allowed.
    """
    if unknown := set(body) - set(names):
        raise NotUnderstoodError(f"{', '.join(sorted(unknown))}: not known here; there are {', '.join(names)}")
    return body
