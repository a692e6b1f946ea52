"""What is an operation of the API?  A row of a table, from which routes, checks and the OpenAPI document are made."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from relay.api import cursors
from relay.api.auth import Principal
from relay.api.cursors import MAX_CURSOR_CHARS
from relay.api.problems import Fault
from relay.api.services import Services
from relay.api.validation import Answer, Sound, wrong

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

ADMINS: Final = ("admin",)
READERS: Final = ("admin", "viewer")
PARTNERS: Final = ("admin", "partner")
EVERYBODY: Final = ("admin", "viewer", "partner")

DEADLINE_S: Final = 1.8
"""For an operation that asks only Redis: with it a 503 comes well within 3 s."""

LOOKUP_DEADLINE_S: Final = 2.6
"""For one that also asks a name server, or queues the past of a subscription."""

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 200


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        if not (value.isascii() and value.removeprefix("-").isdigit() and len(value) <= 17):  # noqa: PLR2004  (2^53)
            raise wrong("type", "Must be a whole number.")
        return int(value)
    return value


def _truth(value: Any) -> Any:
    if isinstance(value, str):
        if value not in ("true", "false"):
            raise wrong("type", "Must be true or false.")
        return value == "true"
    return value


QueryInt = Annotated[int, BeforeValidator(_whole)]
QueryBool = Annotated[bool, BeforeValidator(_truth)]


class Query(BaseModel):
    """The base of every query string: no unknown parameters, each at most once."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class ListQuery(Query):
    """What every list takes."""

    limit: QueryInt = Field(DEFAULT_LIMIT, ge=1, le=MAX_LIMIT)
    """How many at most."""
    cursor: str | None = Field(None, max_length=MAX_CURSOR_CHARS)
    """``next_cursor`` of the page before, with the same filters."""

    def filters(self) -> dict[str, Any]:
        """All but limit and cursor: what a cursor is bound to."""
        return self.model_dump(mode="json", exclude={"limit", "cursor"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request to one operation, checked.

    Attributes:
        path: the variable parts of the path, decoded.
        fields: names of the fields that the body sets.
        if_match: versions or tags that the client would have changed; None where it did not say.
        nonce: hex; ids made from it are found again by a repeat of a request that was cut off.
        repeatable: there is an Idempotency-Key: what this run would make may be there already, by the same nonce.
    """

    operation: "Operation"
    services: Services
    principal: Principal
    path: Mapping[str, str]
    query: Query
    body: BaseModel | None
    fields: frozenset[str]
    if_match: tuple[str, ...] | None
    nonce: str
    repeatable: bool
    now_ms: int

    def query_as(self, model: type[M]) -> M:
        """The query, as the model that the operation names."""
        assert isinstance(self.query, model)  # noqa: S101  (narrows for the type checker)
        return self.query

    def body_as(self, model: type[M]) -> M:
        """The body, as the model that the operation names."""
        assert isinstance(self.body, model)  # noqa: S101  (narrows for the type checker)
        return self.body

    def bound(self, query: ListQuery) -> str:
        """What a cursor of this list is good for: this list, these filters, this caller."""
        return cursors.bound_to(self.operation.name, dict(self.path), query.filters(), self.principal.caller)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a handler answers.

    Attributes:
        body: a model, what JSON is made of, or JSON itself; None for no body.
        status: None for the operation's own.
        etag: without quotes; None for none.
        target: what was changed, for the audit log: ``subscription/sub_…``.
        changed: whether anything was.
    """

    body: BaseModel | Mapping[str, Any] | bytes | None = None
    status: int | None = None
    etag: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None
    changed: bool = True


Handler = Callable[[Call], Awaitable[Reply]]
Check = Callable[[Call, Sound], Awaitable[list[Fault]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path.

    Attributes:
        path: ``/v1/brands/{brand}``.
        name: unique; the OpenAPI operationId.
        tag: which resource it belongs to.
        roles: those that may.
        scope: a partner's key needs it besides.
        body: model of the body, None for none.
        body_optional: no body at all is the same as ``{}``.
        check: looks at the fields in which nothing is wrong, where that needs Redis or a name server; its faults and
            the model's come in one answer.
        answer: model of the answer, None for no body.
        problems: codes of ``problem_types`` beyond those that any operation can answer with.
        action: how the audit log names it; None for one that changes nothing.
        deadline_s: for everything but the arrival of the body.
        keeps_answer: an answer to a request with an Idempotency-Key is kept for its repeats. Not where it holds a
            customer, and a repeat has no further effect.
        examples: of the answer.
        body_examples: of the body, by name.
    """

    method: str
    path: str
    name: str
    tag: str
    summary: str
    handler: Handler
    description: str = ""
    roles: Sequence[str] = ADMINS
    scope: str | None = None
    query: type[Query] = Query
    body: type[BaseModel] | None = None
    body_optional: bool = False
    check: Check | None = None
    answer: type[BaseModel] | None = None
    status: int = 200
    problems: Sequence[str] = ()
    action: str | None = None
    etag: bool = False
    conditional: bool = False
    deadline_s: float = DEADLINE_S
    keeps_answer: bool = True
    example: Any = None
    body_examples: Mapping[str, Any] = field(default_factory=dict)


class Nothing(BaseModel):
    """The body of a request that says all by its path: none, or ``{}``."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Page(Answer, Generic[T]):
    """What every list answers with."""

    data: list[T]
    """What was found."""
    next_cursor: str | None
    """Where the list goes on; null at its end."""


Rfc3339 = Annotated[str, AfterValidator(str), Field(json_schema_extra={"format": "date-time"})]
"""A moment in an answer."""
