"""What does a YAML file want? Read, its secrets looked up, checked as the API checks, each fault with its line."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import yaml

from relay.api.bodies import escape
from relay.api.brand_models import BrandCreate
from relay.api.problems import Fault
from relay.api.subscription_models import SubscriptionCreate
from relay.api.validation import Body, validate
from relay.core.addresses import Networks, parse_networks
from relay.core.errors import CallerError
from relay.core.subscriptions import check_event_types

SECRETS: Final = {"brands": ("client_secret",), "subscriptions": ("secret", "headers")}
"""Of each kind, the fields whose values the API never shows."""

KEYS: Final = {"brands": "brand", "subscriptions": "name"}
"""Of each kind, the field that is its natural key."""

MODELS: Final[Mapping[str, type[Body]]] = {"brands": BrandCreate, "subscriptions": SubscriptionCreate}
"""Of each kind, what the API takes."""

_LARGEST_FILE_BYTES: Final = 1024 * 1024
_LARGEST_SECRET_BYTES: Final = 65_536


class FileWrongError(CallerError):
    """The file cannot be applied; the message says where and why."""

    default_reason = "file"


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in the file.

    Attributes:
        file: its name, as it was given.
        lines: JSON Pointer, from the entry on -> line; the first is 1.
    """

    file: str = ""
    lines: Mapping[str, int] = field(default_factory=dict, repr=False)

    def line(self, pointer: str) -> int:
        """Find the line of a field, or of what it would stand in; 0 where that is not known."""
        while pointer and pointer not in self.lines:
            pointer = pointer.rpartition("/")[0]
        return self.lines.get(pointer, 0)

    def of(self, pointer: str) -> str:
        """Name it."""
        line = self.line(pointer)
        return f"{self.file}, line {line}" if line else self.file


@dataclass(frozen=True, slots=True)
class Wanted:
    """One brand or subscription as the file wants it.

    Attributes:
        kind: ``brands`` or ``subscriptions``.
        name: its natural key.
        fields: as the API takes them; secrets resolved.
    """

    kind: str
    name: str
    fields: Mapping[str, Any] = field(repr=False)
    place: Place = Place()

    def faults(self, *, missing: bool) -> Iterator[tuple[str, str]]:
        """What the API would refuse, without asking it: pointer and detail.

        Args:
            missing: whether it is what is missing, which counts for what is not there yet, or all else.
        """
        found = validate(MODELS[self.kind], dict(self.fields), context=_ANYWHERE)
        for fault in [*(found if isinstance(found, list) else ()), *self._types()]:
            if (fault.code == "missing") is missing:
                yield fault.pointer, fault.detail

    def _types(self) -> list[Fault]:
        types = self.fields.get("event_types")
        if not isinstance(types, list):
            return []
        return [Fault(pointer=f"/event_types{each.pointer}", detail=each.detail) for each in check_event_types(types)]


def told(wanted: Wanted, pointer: str, detail: str) -> str:
    """Write one fault of an entry, with its line."""
    name = pointer.removeprefix("/").replace("/", ".")
    return f"{wanted.place.of(pointer)}: {wanted.kind}, {wanted.name!r}{name and f', {name}'}: {detail}"


@dataclass(frozen=True, slots=True)
class _Anywhere:
    """Which plain http is allowed is the relay's to say."""

    allow: Networks


_ANYWHERE: Final = _Anywhere(parse_networks("0.0.0.0/0,::/0"))


def read_file(path: Path, *, environ: Mapping[str, str]) -> dict[str, list[Wanted]]:
    """Read what is wanted.

    Args:
        path: of the YAML file.
        environ: where ``{env: NAME}`` is looked up.

    Returns:
        For each kind that the file speaks of, what is wanted of it.

    Raises:
        FileWrongError: with all that is wrong.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST_FILE_BYTES + 1)
    except OSError as wrong:
        raise FileWrongError(f"{path} cannot be read: {wrong.strerror}") from None
    if len(text) > _LARGEST_FILE_BYTES:
        raise FileWrongError(f"{path} is larger than 1 MiB")
    try:
        document, lines = _load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as wrong:
        mark = getattr(wrong, "problem_mark", None)
        at = f", line {mark.line + 1}" if mark is not None else ""
        raise FileWrongError(f"{path}{at}: {getattr(wrong, 'problem', None) or 'is not YAML'}") from None
    reading = _Reading(Place(str(path), lines), lambda reference: _secret(reference, environ, path.parent))
    wanted = reading.parse(document)
    if reading.problems:
        raise FileWrongError("\n".join(text for _, text in sorted(reading.problems, key=itemgetter(0))))
    return wanted


class _Loader(yaml.SafeLoader):
    """PyYAML takes the last of two equal keys; here that is an error, as it hides a mistake."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str) or key in seen:
                problem = f"the key {key!r} stands twice, or is no text"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _load(text: bytes) -> tuple[Any, dict[str, int]]:
    """Read a document, and on which line each part of it stands."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None, {}
        return loader.construct_document(node), dict(_lines(node, "", set()))
    finally:
        loader.dispose()


def _lines(node: yaml.Node, pointer: str, above: set[int]) -> Iterator[tuple[str, int]]:
    yield pointer, node.start_mark.line + 1
    if id(node) in above:  # an alias: what it stands for was gone through
        return
    above.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = f"{pointer}/{escape(str(key.value))}"
            yield from _lines(value, below, above)
            yield below, key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield from _lines(value, f"{pointer}/{number}", above)


class _Reading:
    """Goes through a document, and gathers what is wrong with it: line, sentence."""

    def __init__(self, whole: Place, secret: Callable[[Any], str]) -> None:
        self.problems: list[tuple[int, str]] = []
        self._whole = whole
        self._secret = secret

    def parse(self, document: Any) -> dict[str, list[Wanted]]:
        """Find what is wanted of each kind."""
        if not isinstance(document, dict):
            self._wrong("", "must hold `brands:` and `subscriptions:`")
            return {}
        for key in document:
            if key not in KEYS:
                self._wrong(f"/{escape(key)}", f"{key!r} is neither `brands` nor `subscriptions`")
        return {kind: self._entries(kind, document[kind]) for kind in KEYS if kind in document}

    def _entries(self, kind: str, rows: Any) -> list[Wanted]:
        if not isinstance(rows, list | None):
            self._wrong(f"/{kind}", f"{kind} is not a list")
            return []
        found: dict[str, Wanted] = {}
        for number, row in enumerate(rows or ()):
            at = f"/{kind}/{number}"
            name = row.get(KEYS[kind]) if isinstance(row, dict) else None
            if not isinstance(name, str) or not name:
                self._wrong(
                    at, f"{kind}, entry {number + 1}: `{KEYS[kind]}` is missing or is no text: put it into quotes"
                )
            elif name in found:
                self._wrong(at, f"{kind}, entry {number + 1}: {name!r} stands twice")
            else:
                found[name] = self._entry(kind, name, row, at)
        return [*found.values()]

    def _entry(self, kind: str, name: str, row: Mapping[str, Any], at: str) -> Wanted:
        lines = {
            pointer.removeprefix(at): line for pointer, line in self._whole.lines.items() if pointer.startswith(at)
        }
        place = Place(self._whole.file, {pointer: line for pointer, line in lines.items() if pointer[:1] in ("", "/")})
        unread = set()

        def looked_up(pointer: str, reference: Any) -> Any:
            try:
                return self._secret(reference)
            except FileWrongError as wrong:
                unread.add(pointer)
                self._told(Wanted(kind, name, {}, place), pointer, wrong.message)
                return reference

        wanted = Wanted(kind, name, _resolved(kind, row, looked_up), place)
        for pointer, detail in wanted.faults(missing=False):
            if pointer not in unread:
                self._told(wanted, pointer, detail)
        return wanted

    def _told(self, wanted: Wanted, pointer: str, detail: str) -> None:
        self.problems.append((wanted.place.line(pointer), told(wanted, pointer, detail)))

    def _wrong(self, pointer: str, detail: str) -> None:
        self.problems.append((self._whole.line(pointer), f"{self._whole.of(pointer)}: {detail}"))


def _resolved(kind: str, row: Mapping[str, Any], looked_up: Callable[[str, Any], Any]) -> dict[str, Any]:
    found = dict(row)
    for name in SECRETS[kind]:
        value = row.get(name)
        if name == "headers" and isinstance(value, dict):
            found[name] = {header: looked_up(f"/headers/{escape(header)}", text) for header, text in value.items()}
        elif value is not None:
            found[name] = looked_up(f"/{name}", value)
    if isinstance(found.get("retry_schedule"), list):
        found["retry_schedule"] = ",".join(map(str, found["retry_schedule"]))
    # YAML takes an unquoted time for one; the API takes text.
    return {name: value.isoformat() if isinstance(value, date) else value for name, value in found.items()}


def _secret(reference: Any, environ: Mapping[str, str], folder: Path) -> str:
    """Look up ``{env: NAME}`` or ``{file: PATH}``; a text stands for itself."""
    match reference:
        case str():
            return reference
        case {"env": str(name), **rest} if not rest:
            if not environ.get(name, "").strip():
                raise FileWrongError(f"the environment variable {name} is not set, or is empty")
            return environ[name].strip()
        case {"file": str(name), **rest} if not rest:
            try:
                with (folder / name).open("rb") as file:
                    content = file.read(_LARGEST_SECRET_BYTES + 1)
                text = content.decode().strip()
            except OSError as wrong:
                raise FileWrongError(f"the file {name} cannot be read: {wrong.strerror}") from None
            except ValueError:
                raise FileWrongError(f"the file {name} is not text") from None
            if len(content) > _LARGEST_SECRET_BYTES:
                raise FileWrongError(f"the file {name} is too large for a secret")
            if not text:
                raise FileWrongError(f"the file {name} is empty")
            return text
        case _:
            raise FileWrongError("a secret is {env: NAME}, {file: PATH} or a text")
