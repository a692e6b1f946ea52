"""What is one request of a page?  Who makes it, what it may ask for, and how it is answered, whatever happens."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response

from relay import logs
from relay.api.dispatch import address_of
from relay.api.operations import DEADLINE_S
from relay.api.problems import ProblemError, translate
from relay.api.services import Services
from relay.api.ui.calls import Asked, Operations
from relay.api.ui.forms import TOKEN, Form, check_origin, check_token, read_form
from relay.api.ui.rendering import HEADERS, PREFIX, page
from relay.api.ui.sessions import Notice, Session, Sessions
from relay.api.ui.statuses import Level

SIGN_IN: Final = f"{PREFIX}/sign-in"
NOTICE: Final = "notice"
"""The parameter that names what a page is to tell."""

PAGE_DEADLINE_S: Final = 15.0
"""For a page that asks several things; each has a deadline of its own besides."""

_TITLES: Final = {404: "Not here", 403: "Not for you", 503: "Redis is away"}


@dataclass(frozen=True, slots=True)
class Site:
    """What every page works with."""

    services: Services
    operations: Operations
    sessions: Sessions


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of somebody who is signed in.

    Attributes:
        notice: what the page is to tell, this once.
    """

    site: Site
    request: Request
    session: Session
    notice: Notice | None = None

    @property
    def services(self) -> Services:
        """What the routes of the API work with, too."""
        return self.site.services

    @property
    def is_partner(self) -> bool:
        """Whether a partner's page is to be shown."""
        return self.session.principal.role == "partner"

    @property
    def is_part(self) -> bool:
        """Whether only the part of the page that changes is asked for."""
        return self.request.headers.get("hx-request") == "true"

    def param(self, name: str) -> str:
        """A parameter of the address; "" where it is missing."""
        return self.request.query_params.get(name, "").strip()

    def path(self, name: str) -> str:
        """A variable part of the path."""
        value: str = self.request.path_params[name]
        return value

    def may(self, name: str) -> bool:
        """Whether this visitor may ask for an operation."""
        return self.site.operations.allows(self.session.principal, name)

    async def ask(
        self,
        name: str,
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Any:
        """Do an operation of the API; see ``calls``.

        Raises:
            ProblemError: it was refused, or could not be done.
        """
        asked = Asked(
            principal=self.session.principal, request=self.request, path=path or {}, query=query or {}, body=body
        )
        return await self.site.operations.ask(name, asked)

    def show(self, template: str, *, part: str | None = None, status: int = 200, **context: Any) -> Response:
        """Answer with a page.

        Args:
            template: of the whole page.
            part: template of what changes by itself; the answer where only that is asked for.
            status: of the answer.
            context: what the template shows.
        """
        whole = part is None or not self.is_part
        context = {
            "me": self.session.principal,
            "csrf": self.session.csrf,
            "partner": self.is_partner,
            "may": self.may,
            "now_ms": self.services.now_ms(),
            "here": self.request.scope["path"],
            "again": own_address(self.request),
            "notice": self.notice,
            **context,
        }
        return page(template if whole or part is None else part, context, status=status)

    async def tell(self, path: str, notice: Notice) -> Response:
        """After a form: have another page tell how it went."""
        name = await self.site.sessions.leave(self.session, notice)
        return see_other(f"{path}{'&' if '?' in path else '?'}{NOTICE}={name}")

    async def attempt(self, path: str, doing: Awaitable[Any], done: Callable[[Any], Notice]) -> Response:
        """After a form: do something, and have a page tell how it went, well or not.

        Args:
            path: of that page.
            doing: asks for an operation.
            done: makes the notice of its answer.
        """
        try:
            answer = await doing
        except ProblemError as problem:
            if problem.kind.status in (404, 503):
                raise
            return await self.tell(path, refusal(problem))
        return await self.tell(path, done(answer))


Show = Callable[[Visit], Awaitable[Response]]
Act = Callable[[Visit, Form], Awaitable[Response]]


def shown(site: Site, show: Show) -> Callable[[Request], Awaitable[Response]]:
    """A page, for those who are signed in."""

    async def answer(request: Request) -> Response:
        async def make() -> Response:
            async with asyncio.timeout(DEADLINE_S):
                session = await site.sessions.of(request)
                if session is None:
                    return to_sign_in(request)
                name = request.query_params.get(NOTICE) if request.method == "GET" else None
                notice = await site.sessions.take(session, name)
            async with asyncio.timeout(PAGE_DEADLINE_S):
                return await show(Visit(site, request, session, notice))

        return await guarded(request, make)

    return answer


def acting(site: Site, act: Act) -> Callable[[Request], Awaitable[Response]]:
    """What a form does, for those who are signed in."""

    async def answer(request: Request) -> Response:
        async def make() -> Response:
            check_origin(request)
            form = await read_form(request)
            async with asyncio.timeout(DEADLINE_S):
                session = await site.sessions.of(request)
            if session is None:
                if form.get(TOKEN):  # a page of ours that was open for longer than its session
                    return see_other(SIGN_IN)
                raise ProblemError("forbidden", "Sign in first.")
            check_token(form, session.csrf)
            return await act(Visit(site, request, session), form)

        return await guarded(request, make)

    return answer


async def guarded(request: Request, make: Callable[[], Awaitable[Response]]) -> Response:
    """Answer, whatever happens, and write its line: the outer edge of one request."""
    started_s = time.perf_counter()
    try:
        response = await make()
    except Exception as error:  # noqa: BLE001  (the outer edge of one request: the rest goes on)
        translated = translate(error)
        if translated.ours:
            logs.event("page failed", level="error", exc=error, request=request.scope.get("relay.request_id"))
        response = _problem(request, translated.problem)
    logs.event(
        "page",
        level="debug" if request.method == "GET" else "info",
        method=request.method,
        path=request.url.path,
        status=response.status_code,
        duration_ms=round((time.perf_counter() - started_s) * 1000),
        client=address_of(request),
    )
    return response


def refusal(problem: ProblemError) -> Notice:
    """What is told of something that was refused."""
    faults = {fault.pointer.strip("/").partition("/")[0]: fault.detail for fault in problem.faults}
    told = [f"{name.replace('_', ' ').capitalize()}: {why}" for name, why in faults.items()]
    text = " ".join(["Not done.", *told]) if faults else problem.detail
    return Notice(level=Level.BAD, text=text, faults=faults)


def see_other(path: str) -> Response:
    """Go on there: what a form did is not done again when the page is loaded anew."""
    return Response(status_code=303, headers={**HEADERS, "location": path})


def to_sign_in(request: Request) -> Response:
    """Have somebody sign in first, and come back after that."""
    address = own_address(request)
    if request.headers.get("sec-fetch-site") == "cross-site" and request.method == "GET":
        # Followed from elsewhere, a link brings no strict cookie; from a page of ours it does.
        return page("onward.html", {"path": address})
    back = "" if address == PREFIX else f"?{urlencode({'next': address})}"
    if request.headers.get("hx-request") == "true":
        return Response(status_code=401, headers={**HEADERS, "hx-redirect": SIGN_IN + back})
    return see_other(SIGN_IN + back)


def own_address(request: Request) -> str:
    """The path that was asked for, and its filters, without what is told once; nothing of it is the client's host."""
    path = quote(request.scope["path"])
    query = [(name, value) for name, value in request.query_params.multi_items() if name != NOTICE]
    return f"{path}?{urlencode(query)}" if query else path


def problem_page(status: int, title: str, detail: str, *, request_id: str | None = None) -> Response:
    """Say in a page what is wrong."""
    context = {"title": title, "detail": detail, "status": status, "request_id": request_id, "home": PREFIX}
    return page("problem.html", context, status=status)


def _problem(request: Request, problem: ProblemError) -> Response:
    status = problem.kind.status
    request_id = request.scope.get("relay.request_id") if status == 500 else None  # noqa: PLR2004
    response = problem_page(status, _TITLES.get(status, problem.kind.title), problem.detail, request_id=request_id)
    response.headers.update(problem.headers)
    return response
