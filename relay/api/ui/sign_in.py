"""Signing in and out: with the admin token or an API key, which is never kept here."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from relay import logs
from relay.api.dispatch import address_of
from relay.api.operations import DEADLINE_S
from relay.api.problems import ProblemError
from relay.api.ui.forms import Form, check_origin, check_token, read_form
from relay.api.ui.own_operations import SIGN_IN as SIGNING_IN
from relay.api.ui.rendering import PREFIX, page
from relay.api.ui.sessions import COOKIE, LASTS_S, csrf_of
from relay.api.ui.visits import SIGN_IN, Site, Visit, guarded, see_other

BEFORE: Final = "relay_sign_in"
"""A cookie from before there is a session: what the form of the sign-in page holds belongs to it."""

MAX_NEXT_CHARS: Final = 500

_WRONG: Final = "That token is not valid here: it may be mistyped, revoked or expired."
_LOOK_ALIKES: Final = {
    "whsec_": "That is a webhook secret, with which a partner verifies what arrives.",
    "whsk_": "That is a private key, with which webhooks are signed.",
    "bearer ": "Leave out the word Bearer: only the token itself.",
    "key_": "That is the id of a key. The key itself begins with rk_, and was shown once, when it was made.",
}
"""How what people paste by mistake begins, and what to tell them."""

Answer = Callable[[Request], Awaitable[Response]]


def showing(site: Site) -> Answer:
    """The page that asks for a token."""

    async def answer(request: Request) -> Response:
        async def make() -> Response:
            onward = request.query_params.get("next", "")
            async with asyncio.timeout(DEADLINE_S):
                session = await site.sessions.of(request)
            if session is not None:
                return see_other(own_path(onward))
            return _page(request, onward)

        return await guarded(request, make)

    return answer


def signing_in(site: Site) -> Answer:
    """What its form does."""

    async def answer(request: Request) -> Response:
        async def make() -> Response:
            check_origin(request)
            form = await read_form(request)
            check_token(form, csrf_of(request.cookies.get(BEFORE, "")))
            if not request.cookies.get(BEFORE):
                raise ProblemError("forbidden", "The sign-in page needs its cookie: allow cookies for this address.")
            return await _sign_in(site, request, form)

        return await guarded(request, make)

    return answer


async def sign_out(visit: Visit, _form: Form) -> Response:
    """End the session."""
    await visit.site.sessions.end(visit.session)
    response = see_other(SIGN_IN)
    response.delete_cookie(COOKIE, path=PREFIX, httponly=True, samesite="strict")
    return response


async def _sign_in(site: Site, request: Request, form: Form) -> Response:
    token, onward = form.get("token"), form.get("next")
    try:
        async with asyncio.timeout(DEADLINE_S):
            principal, value = await site.sessions.sign_in(token)
    except ProblemError as problem:
        if problem.kind.code != "unauthorized":
            raise
        logs.event("sign-in refused", level="warning", client=address_of(request))
        hint = next((hint for start, hint in _LOOK_ALIKES.items() if token.lower().startswith(start)), _WRONG)
        return _page(request, onward, fault=hint if token else "Enter a token.", status=401)
    await site.operations.trail.done(SIGNING_IN, principal, request, None, ())
    response = see_other(own_path(onward))
    _set_cookie(response, request, COOKIE, value, lasts_s=LASTS_S)
    response.delete_cookie(BEFORE, path=SIGN_IN, httponly=True, samesite="strict")
    return response


def _page(request: Request, onward: str, *, fault: str | None = None, status: int = 200) -> Response:
    value = request.cookies.get(BEFORE) or secrets.token_urlsafe(32)  # two tabs may ask at once
    context = {"csrf": csrf_of(value), "next": onward[:MAX_NEXT_CHARS], "fault": fault, "here": SIGN_IN}
    response = page("sign_in.html", context, status=status)
    _set_cookie(response, request, BEFORE, value, lasts_s=3600, path=SIGN_IN)
    if status == 401:  # noqa: PLR2004
        response.headers["www-authenticate"] = 'Bearer realm="clopos-relay"'
    return response


def _set_cookie(
    response: Response, request: Request, name: str, value: str, *, lasts_s: int, path: str = PREFIX
) -> None:
    """Set a cookie that scripts do not see and other sites' pages do not send.

    Over TLS alone where the browser speaks TLS: to us, or to a proxy that says so. Whoever lies about that harms only
    their own cookie.
    """
    secure = request.scope["scheme"] == "https" or request.headers.get("x-forwarded-proto", "").startswith("https")
    response.set_cookie(name, value, max_age=lasts_s, path=path, secure=secure, httponly=True, samesite="strict")


def own_path(onward: str) -> str:
    """Where to go after signing in: a page of ours, whatever the address asked for."""
    inside = onward == PREFIX or onward.startswith((f"{PREFIX}/", f"{PREFIX}?"))
    plain = onward.isascii() and onward.isprintable() and "\\" not in onward and len(onward) <= MAX_NEXT_CHARS
    return onward if inside and plain and not onward.startswith(SIGN_IN) else PREFIX
