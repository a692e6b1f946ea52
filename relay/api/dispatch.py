"""How does a request become a call of a handler, and its result an answer?  The same steps for every operation."""

import asyncio
import hashlib
import json
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from relay import logs
from relay.api.auth import Principal, authenticate, check_role
from relay.api.bodies import escape, read_json
from relay.api.operations import DEADLINE_S, Call, Operation, Reply
from relay.api.problems import Fault, ProblemError, invalid, respond, translate
from relay.api.services import Services
from relay.api.trail import Trail
from relay.api.validation import Sound, validate
from relay.store.idempotency import Done, OtherRequest, Run, Running

NONCE_BYTES: Final = 32
MAX_KEY_CHARS: Final = 255

_ETAGS: Final = re.compile(r'\s*(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"\s*(?:,\s*(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"\s*)*')
_ETAG: Final = re.compile(r'(W/)?"([^"]*)"')
_VISIBLE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")


class PathEndpoint:
    """All operations of one path, as an ASGI application."""

    def __init__(self, services: Services, operations: Sequence[Operation], trail: Trail) -> None:
        self._services = services
        self._operations = {operation.method: operation for operation in operations}
        self._trail = trail
        methods = {*self._operations, *(["HEAD"] if "GET" in self._operations else [])}
        self._allow = ", ".join(sorted(methods))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        operation = self._operations.get("GET" if request.method == "HEAD" else request.method)
        if operation is None:
            problem = ProblemError(
                "method_not_allowed", f"This path takes {self._allow}.", headers={"allow": self._allow}
            )
            response = respond(problem)
        else:
            response = await _Exchange(self._services, operation, request, self._trail).response()
        if request.method == "HEAD":
            response.body = b""
        await response(scope, receive, send)


class _Exchange:
    """One request on its way through."""

    def __init__(self, services: Services, operation: Operation, request: Request, trail: Trail) -> None:
        self._services = services
        self._operation = operation
        self._request = request
        self._trail = trail
        self._principal: Principal | None = None

    async def response(self) -> Response:
        started_s = time.perf_counter()
        try:
            response = await self._answer()
        except Exception as error:  # noqa: BLE001  (the outer edge of one request: the rest goes on)
            translated = translate(error)
            if translated.ours:
                logs.event("request failed", level="error", exc=error, operation=self._operation.name)
            await self._trail.refused(self._operation, self._principal, self._request, translated.problem)
            response = respond(translated.problem)
        logs.event(
            "request",
            operation=self._operation.name,
            status=response.status_code,
            duration_ms=round((time.perf_counter() - started_s) * 1000),
            caller=None if self._principal is None else self._principal.caller,
            request=self._request.scope.get("relay.request_id"),
            client=address_of(self._request),
        )
        return response

    async def _answer(self) -> Response:
        operation, services = self._operation, self._services
        async with asyncio.timeout(DEADLINE_S):
            self._principal = await authenticate(
                self._request, admin_digest=services.admin_digest, api_keys=services.api_keys, now_ms=services.now_ms()
            )
            check_role(self._principal, operation.roles, scope=operation.scope)
        if_match = _if_match(self._request) if operation.conditional else None
        key = _idempotency_key(self._request) if operation.method == "POST" else None
        document: Any = {}
        if operation.body is not None:
            document = await read_json(self._request, optional=operation.body_optional)
        if operation.deadline_s > DEADLINE_S:  # what may wait for others must not wait for Redis
            async with asyncio.timeout(DEADLINE_S):
                await services.log.last()
        async with asyncio.timeout(operation.deadline_s):
            if key is None:
                nonce = services.random_bytes(NONCE_BYTES).hex()
                return await self._call(self._principal, document, if_match, nonce=nonce, repeatable=False)
            begun = await self._begin(self._principal, key, document)
            if isinstance(begun, Response):
                return begun
            try:
                response = await self._call(self._principal, document, if_match, nonce=begun.nonce, repeatable=True)
            except BaseException:
                await _forget(services, begun)
                raise
            if operation.keeps_answer:
                await _remember(services, begun, response)
            else:
                await _forget(services, begun)
            return response

    async def _call(
        self, principal: Principal, document: Any, if_match: tuple[str, ...] | None, *, nonce: str, repeatable: bool
    ) -> Response:
        """Check what was sent, run the handler, note what it changed."""
        operation = self._operation
        query, faults = self._query()
        body, fields = self._body(document, faults)
        call = Call(
            operation=operation,
            services=self._services,
            principal=principal,
            path=self._request.path_params,
            query=query,
            body=body,
            fields=fields,
            if_match=if_match,
            nonce=nonce,
            repeatable=repeatable,
            now_ms=self._services.now_ms(),
        )
        if operation.check is not None:
            faults += await operation.check(call, Sound(document, faults))
        if faults:
            raise invalid(faults)
        reply = await operation.handler(call)
        if operation.action is not None and reply.changed:
            await self._trail.done(operation, principal, self._request, reply.target, fields)
        return _response(operation, reply)

    def _query(self) -> tuple[Any, list[Fault]]:
        model = self._operation.query
        values: dict[str, str] = {}
        faults: list[Fault] = []
        for name, value in self._request.query_params.multi_items():
            if name in values:
                faults.append(Fault(pointer=f"/{escape(name)}", detail="Is there twice.", code="twice", place="query"))
            values[name] = value
        checked = validate(model, values)
        if isinstance(checked, list):
            faults += [
                Fault(pointer=f.pointer, detail=_as_parameter(f.detail), code=f.code, place="query") for f in checked
            ]
            return model.model_construct(), faults
        return checked, faults

    def _body(self, document: Any, faults: list[Fault]) -> tuple[BaseModel | None, frozenset[str]]:
        model = self._operation.body
        if model is None:
            return None, frozenset()
        checked = validate(model, document, context=self._services)
        if isinstance(checked, list):
            faults += checked
            return None, frozenset()
        return checked, frozenset(checked.model_fields_set)

    async def _begin(self, principal: Principal, key: str, document: Any) -> Run | Response:
        """Ask whether this request was made before."""
        url = self._request.url
        content = _sorted_json([self._request.method, url.path, url.query, document])
        begun = await self._services.idempotency.begin(
            caller=principal.caller,
            key=key,
            fingerprint=hashlib.sha256(content).hexdigest(),
            nonce=self._services.random_bytes(NONCE_BYTES).hex(),
        )
        match begun:
            case Running(wait_ms):
                raise ProblemError(
                    "running",
                    "The first request with this Idempotency-Key has not ended yet.",
                    headers={"retry-after": str(max(1, -(-wait_ms // 1000)))},
                )
            case OtherRequest():
                raise ProblemError(
                    "idempotency_mismatch", "This Idempotency-Key came with another request before: use a new one."
                )
            case Done(answer):
                status, headers, body = orjson.loads(answer)
                return Response(body, status_code=status, headers={**headers, "idempotency-replayed": "true"})
        return begun


def _sorted_json(value: Any) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # a whole number of more than 64 bits, which is wrong wherever it stands, and is told so later
        return json.dumps(value, sort_keys=True).encode()


def _response(operation: Operation, reply: Reply) -> Response:
    status = operation.status if reply.status is None else reply.status
    headers = dict(reply.headers)
    if reply.body is None:
        return Response(status_code=status, headers=headers)
    encoded = _encoded(reply.body)
    if operation.etag:
        tag = reply.etag or hashlib.blake2b(encoded, digest_size=12).hexdigest()
        headers["etag"] = f'"{tag}"'
    return Response(encoded, status_code=status, media_type="application/json", headers=headers)


def _encoded(body: BaseModel | Mapping[str, Any] | bytes) -> bytes:
    if isinstance(body, bytes):
        return body
    return orjson.dumps(body.model_dump(mode="json", by_alias=True) if isinstance(body, BaseModel) else body)


async def _remember(services: Services, run: Run, response: Response) -> None:
    headers = {
        name.decode(): value.decode()
        for name, value in response.raw_headers
        if name not in (b"content-length", b"date")
    }
    answer = orjson.dumps([response.status_code, headers, bytes(response.body).decode()]).decode()
    try:
        await services.idempotency.end(run, answer)
    except Exception as error:  # noqa: BLE001  (the answer is right all the same; a repeat finds what was made by its nonce)
        logs.event("answer not remembered", level="warning", exc=error)


async def _forget(services: Services, run: Run) -> None:
    try:
        async with asyncio.timeout(1):
            await services.idempotency.end(run, None)
    except Exception as error:  # noqa: BLE001  (the first error is the one to be told; the run lapses by itself)
        logs.event("request not released", level="warning", exc=error)


def _if_match(request: Request) -> tuple[str, ...] | None:
    """Tags of If-Match: ``*`` alone for any, weak ones never match (RFC 9110, section 13.1.1)."""
    values = request.headers.getlist("if-match")
    if not values:
        return None
    text = ", ".join(values)
    if text.strip() == "*":
        return ("*",)
    if len(text) > 4096 or _ETAGS.fullmatch(text) is None:  # noqa: PLR2004
        raise ProblemError("bad_header", 'If-Match takes an ETag as it was given, such as "3-k2f".')
    return tuple(tag for weak, tag in _ETAG.findall(text) if not weak)


def _idempotency_key(request: Request) -> str | None:
    values = request.headers.getlist("idempotency-key")
    if not values:
        return None
    if len(values) > 1 or len(values[0]) > MAX_KEY_CHARS or _VISIBLE.fullmatch(values[0]) is None:
        raise ProblemError("bad_header", f"Idempotency-Key takes 1 to {MAX_KEY_CHARS} ASCII characters, once.")
    return values[0]


def _as_parameter(detail: str) -> str:
    return detail.replace("no such field", "no such parameter")


def address_of(request: Request) -> str | None:
    """Where a request came from: the other end of its connection, whatever its headers say."""
    return None if request.client is None else request.client.host
