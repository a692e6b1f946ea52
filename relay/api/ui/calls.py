"""How does a page do what the API does?  By the very same operations: the same checks, rights, deadlines and trail."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import BaseModel
from starlette.requests import Request

from relay.api.auth import Principal, check_role
from relay.api.dispatch import NONCE_BYTES
from relay.api.operations import Call, Operation, Reply
from relay.api.problems import Fault, ProblemError, invalid, translate
from relay.api.services import Services
from relay.api.trail import Trail
from relay.api.validation import Sound, validate


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked for, and by whom.

    Attributes:
        principal: who is signed in.
        request: of the page; the audit log tells from where it came.
        path: the variable parts of the operation's path.
        query: its parameters, as text or as their own types.
        body: None where it takes none, or may be left out.
    """

    principal: Principal
    request: Request
    path: Mapping[str, str]
    query: Mapping[str, Any]
    body: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Operations:
    """Every operation that a page may ask for, by name, and what it works with."""

    services: Services
    trail: Trail
    by_name: Mapping[str, Operation]

    @classmethod
    def of(cls, services: Services, operations: Sequence[Operation], trail: Trail) -> "Operations":
        """Put them in a table."""
        return cls(services, trail, {operation.name: operation for operation in operations})

    def allows(self, principal: Principal, name: str) -> bool:
        """Whether somebody may: what one may not is not offered."""
        try:
            check_role(principal, self.by_name[name].roles, scope=self.by_name[name].scope)
        except ProblemError:
            return False
        return True

    async def ask(self, name: str, asked: Asked) -> Any:
        """Do one operation.

        Returns:
            Its answer as JSON is made of; None for none.

        Raises:
            ProblemError: as the API would answer; whatever else happens is translated to one.
        """
        operation = self.by_name[name]
        try:
            async with asyncio.timeout(operation.deadline_s):
                return _plain(await self._do(operation, asked))
        except Exception as error:
            translated = translate(error)
            await self.trail.refused(operation, asked.principal, asked.request, translated.problem)
            if translated.ours:
                raise
            raise translated.problem from error

    async def _do(self, operation: Operation, asked: Asked) -> Reply:
        check_role(asked.principal, operation.roles, scope=operation.scope)
        faults: list[Fault] = []
        checked_query = validate(operation.query, dict(asked.query))
        if isinstance(checked_query, list):
            raise invalid([Fault(pointer=each.pointer, detail=each.detail, place="query") for each in checked_query])
        document = dict(asked.body or {})
        checked: BaseModel | None = None
        if operation.body is not None:
            found = validate(operation.body, document, context=self.services)
            if isinstance(found, list):
                faults += found
            else:
                checked = found
        fields = frozenset() if checked is None else frozenset(checked.model_fields_set)
        call = Call(
            operation=operation,
            services=self.services,
            principal=asked.principal,
            path=asked.path,
            query=checked_query,
            body=checked,
            fields=fields,
            if_match=None,
            nonce=self.services.random_bytes(NONCE_BYTES).hex(),
            repeatable=False,
            now_ms=self.services.now_ms(),
        )
        if operation.check is not None:
            faults += await operation.check(call, Sound(document, faults))
        if faults:
            raise invalid(faults)
        reply = await operation.handler(call)
        if operation.action is not None and reply.changed:
            await self.trail.done(operation, asked.principal, asked.request, reply.target, fields)
        return reply


def _plain(reply: Reply) -> Any:
    match reply.body:
        case BaseModel() as model:
            return model.model_dump(mode="json", by_alias=True)
        case bytes() as encoded:
            return orjson.loads(encoded)
        case body:
            return body
