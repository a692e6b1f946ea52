"""What is wrong with values that could be read?  Pydantic's findings as our own sentences, with pointers, all at once.

No answer repeats a value. Unknown fields are refused, with the known one that looks most like them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from relay.api.bodies import escape
from relay.api.problems import Fault

M = TypeVar("M", bound=BaseModel)

MOST_UNKNOWN: Final = 50
"""So many unknown fields are told of; further ones are not looked at."""


class Body(BaseModel):
    """The base of every request body: exact types, no unknown fields."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class Answer(BaseModel):
    """The base of every answer."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


def wrong(code: str, detail: str) -> PydanticCustomError:
    """What a validator raises: ``detail`` is a sentence, shown as it is."""
    return PydanticCustomError("relay", "{detail}", {"detail": detail, "code": code})


def validate(model: type[M], document: Any, *, context: Any = None) -> M | list[Fault]:
    """Check a document against a model; every fault if there is one."""
    if not isinstance(document, dict):
        return [Fault(pointer="", detail="The body must be a JSON object.", code="type")]
    try:
        return model.model_validate(document, context=context)
    except ValidationError as error:
        return [_fault(model, each) for each in _told(error.errors(include_url=False, include_input=False))]


def _told(errors: Iterable[ErrorDetails]) -> Iterator[ErrorDetails]:
    """All but what is unknown beyond ``MOST_UNKNOWN``: a look for the name that was meant is dear."""
    unknown = 0
    for error in errors:
        unknown += error["type"] == "extra_forbidden"
        if unknown <= MOST_UNKNOWN or error["type"] != "extra_forbidden":
            yield error


class Sound(dict[str, Any]):
    """The fields in which nothing is wrong so far: what checks that need Redis look at.

    Attributes:
        faulty: names of the others.
    """

    def __init__(self, document: Any, faults: Iterable[Fault]) -> None:
        self.faulty = frozenset(fault.pointer.split("/")[1] for fault in faults if fault.pointer.startswith("/"))
        fields = document if isinstance(document, dict) else {}
        super().__init__({key: value for key, value in fields.items() if escape(key) not in self.faulty})

    def lacks(self, name: str) -> bool:
        """Whether a field is missing, or null, and that is not a fault already told."""
        return self.get(name) is None and name not in self.faulty


def _fault(model: type[BaseModel], error: ErrorDetails) -> Fault:
    location = [step for step in error["loc"] if step != "[key]"]
    pointer = "".join(f"/{escape(str(step))}" for step in location)
    context: Mapping[str, Any] = error.get("ctx", {})
    kind = error["type"]
    if kind == "relay":
        return Fault(pointer=pointer, detail=context["detail"], code=context["code"])
    if kind == "extra_forbidden":
        return Fault(pointer=pointer, detail=_unknown(model, location), code="unknown_field")
    return Fault(pointer=pointer, detail=_sentence(kind, context), code=_CODES.get(kind, "type"))


def _unknown(model: type[BaseModel], location: Sequence[int | str]) -> str:
    known = _fields_at(model, location[:-1])
    near = get_close_matches(str(location[-1])[:64], known, n=1, cutoff=0.6)
    return "There is no such field" + (f"; did you mean {near[0]}?" if near else ".")


def _fields_at(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Names of the fields of the model at a place within a model."""
    for step in location:
        field = model.model_fields.get(str(step))
        if field is None:
            continue  # an index into a list
        inner = [each for each in _types_in(field.annotation) if issubclass(each, BaseModel)]
        if not inner:
            return []
        model = inner[0]
    return [field.alias or name for name, field in model.model_fields.items()]


def _types_in(annotation: Any) -> list[type]:
    arguments = getattr(annotation, "__args__", ())
    if arguments:
        return [found for each in arguments for found in _types_in(each)]
    return [annotation] if isinstance(annotation, type) else []


_CODES: Final = {
    "missing": "missing",
    "literal_error": "choice",
    "greater_than": "range",
    "greater_than_equal": "range",
    "less_than": "range",
    "less_than_equal": "range",
    "too_long": "length",
    "too_short": "length",
    "string_too_long": "length",
    "string_too_short": "length",
    "string_pattern_mismatch": "pattern",
}
"""Pydantic's type of error -> ours; all others are ``type``."""

_SENTENCES: Final = {
    "missing": "Is missing.",
    "literal_error": "Must be one of: {expected}.",
    "greater_than": "Must be greater than {gt}.",
    "greater_than_equal": "Must be at least {ge}.",
    "less_than": "Must be less than {lt}.",
    "less_than_equal": "Must be at most {le}.",
    "too_long": "May have at most {max_length} entries.",
    "too_short": "Must have at least {min_length} entries.",
    "string_too_long": "May have at most {max_length} characters.",
    "string_too_short": "Must have at least {min_length} characters.",
    "string_pattern_mismatch": "Must match {pattern}.",
    "string_type": "Must be a string.",
    "int_type": "Must be a whole number.",
    "int_from_float": "Must be a whole number.",
    "int_parsing": "Must be a whole number.",
    "int_parsing_size": "Is too large a number.",
    "float_type": "Must be a number.",
    "bool_type": "Must be true or false.",
    "bool_parsing": "Must be true or false.",
    "list_type": "Must be a list.",
    "dict_type": "Must be an object.",
    "model_type": "Must be an object.",
    "model_attributes_type": "Must be an object.",
    "none_required": "Must be null.",
}


def _sentence(kind: str, context: Mapping[str, Any]) -> str:
    return _SENTENCES.get(kind, "Has a wrong value.").format_map({**context})
