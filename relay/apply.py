"""How does a YAML file become brands and subscriptions? It is read, compared with what is there, and called."""

import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from relay.client import ApiError, Client, segment
from relay.core.durations import parse_duration
from relay.core.errors import CallerError

Action = Literal["create", "change", "remove", "keep"]

SECRETS: Final = {"brands": ("client_secret",), "subscriptions": ("secret", "headers")}
"""Of each kind, the fields whose values the API never shows."""

_KEYS: Final = {"brands": "brand", "subscriptions": "name"}
_PATHS: Final = {"brands": "/v1/brands", "subscriptions": "/v1/subscriptions"}
_ONLY_AT_CREATION: Final = {"start"}
_UNORDERED: Final = {"event_types", "brands", "venues", "redact"}
_LARGEST_FILE_BYTES: Final = 1024 * 1024


class FileWrongError(CallerError):
    """The file cannot be applied; the message says where and why."""

    default_reason = "file"


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


@dataclass(frozen=True, slots=True)
class Step:
    """One difference between the file and the relay.

    Attributes:
        path: of what is there, or of the list where it is to be created.
        body: what is sent; None for a removal.
        changes: field → (present, wanted), without secrets.
    """

    action: Action
    kind: str
    name: str
    path: str
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    changes: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)


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
        document = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader that also refuses duplicate keys
    except (yaml.YAMLError, RecursionError, ValueError) as wrong:
        mark = getattr(wrong, "problem_mark", None)
        at = f", line {mark.line + 1}" if mark is not None else ""
        raise FileWrongError(f"{path}{at}: {getattr(wrong, 'problem', None) or 'is not YAML'}") from None
    problems: list[str] = []
    wanted = _parse(document, problems, lambda reference: _secret(reference, environ, path.parent))
    if problems:
        raise FileWrongError("\n".join(f"{path}: {problem}" for problem in problems))
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


def _parse(document: Any, problems: list[str], secret: Callable[[Any], str]) -> dict[str, list[Wanted]]:
    if not isinstance(document, dict):
        problems.append("must hold `brands:` and `subscriptions:`")
        return {}
    problems += [f"{key!r} is neither `brands` nor `subscriptions`" for key in document if key not in _KEYS]
    wanted: dict[str, list[Wanted]] = {}
    for kind, key in _KEYS.items():
        if kind not in document:
            continue
        rows = document[kind] or []
        if not isinstance(rows, list):
            problems.append(f"{kind} is not a list")
            continue
        wanted[kind] = []
        names: set[str] = set()
        for number, row in enumerate(rows, start=1):
            name = row.get(key) if isinstance(row, dict) else None
            if not isinstance(name, str) or not name:
                problems.append(f"{kind}, entry {number}: `{key}` is missing or is no text: put it into quotes")
            elif name in names:
                problems.append(f"{kind}, entry {number}: {name!r} stands twice")
            else:
                names.add(name)
                try:
                    wanted[kind].append(Wanted(kind, name, _resolved(kind, row, secret)))
                except FileWrongError as wrong:
                    problems.append(f"{kind}, {name!r}: {wrong.message}")
    return wanted


def _resolved(kind: str, row: Mapping[str, Any], secret: Callable[[Any], str]) -> dict[str, Any]:
    found = dict(row)
    for name in SECRETS[kind]:
        value = row.get(name)
        if name == "headers" and isinstance(value, dict):
            found[name] = {header: secret(text) for header, text in value.items()}
        elif value is not None:
            found[name] = secret(value)
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
                text = (folder / name).read_text().strip()
            except (OSError, ValueError) as wrong:
                raise FileWrongError(f"the file {name} cannot be read ({type(wrong).__name__})") from None
            if not text:
                raise FileWrongError(f"the file {name} is empty")
            return text
        case _:
            raise FileWrongError("a secret is {env: NAME}, {file: PATH} or a text")


def plan(
    wanted: Mapping[str, list[Wanted]], present: Mapping[str, Mapping[str, Mapping[str, Any]]], *, prune: bool
) -> list[Step]:
    """Decide what is to be done, in an order in which each step finds what it needs.

    Args:
        wanted: from the file.
        present: from the API: kind → path → what is there.
        prune: whether what the file lacks is removed, of the kinds it speaks of.
    """
    steps: list[Step] = []
    removals: list[Step] = []
    for kind in _KEYS:
        if kind not in wanted:
            continue
        there = {str(row[_KEYS[kind]]): (path, row) for path, row in present[kind].items() if row.get(_KEYS[kind])}
        steps += [_step(one, *there[one.name]) if one.name in there else _creation(one) for one in wanted[kind]]
        if prune:
            named = {one.name for one in wanted[kind]}
            removals += [
                Step("remove", kind, str(row.get(_KEYS[kind]) or row["id"]), path)
                for path, row in present[kind].items()
                if row.get(_KEYS[kind]) not in named
            ]
    # Subscriptions go before the brands that they may name.
    return [*steps, *sorted(removals, key=lambda step: step.kind, reverse=True)]


def _creation(one: Wanted) -> Step:
    changes = {name: (None, value) for name, value in one.fields.items() if name not in SECRETS[one.kind]}
    return Step("create", one.kind, one.name, _PATHS[one.kind], one.fields, changes)


def _step(one: Wanted, path: str, row: Mapping[str, Any]) -> Step:
    changes = {
        name: (row.get(name), value)
        for name, value in one.fields.items()
        if name not in SECRETS[one.kind] and name not in _ONLY_AT_CREATION and not _alike(name, row.get(name), value)
    }
    # Secrets cannot be compared from here: they go along, and the relay changes nothing where they are as they were.
    sent = [*changes, *(name for name in SECRETS[one.kind] if name in one.fields)]
    body = {name: one.fields[name] for name in sent}
    return Step("change" if changes else "keep", one.kind, one.name, path, body, changes)


def _alike(name: str, present: object, wanted: object) -> bool:
    if present == wanted:
        return True
    if name in _UNORDERED and isinstance(present, list) and isinstance(wanted, list):
        return sorted(map(str, present)) == sorted(map(str, wanted))
    if isinstance(present, dict) and isinstance(wanted, dict):
        return {**present, **wanted} == present  # what the file leaves out keeps what it has
    if isinstance(present, str) and isinstance(wanted, str):
        return _spelt(present) == _spelt(wanted)
    return False


def _spelt(text: str) -> object:
    """A text in the one form that its spellings share: durations and lists of them, times, URLs but for a slash."""
    for parse in (_durations, datetime.fromisoformat):
        with contextlib.suppress(ValueError):
            return parse(text)
    return text.rstrip("/")


def _durations(text: str) -> tuple[timedelta, ...]:
    return tuple(parse_duration(part) for part in text.split(","))


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a step.

    Attributes:
        action: of the step; ``change`` where only the secret, which nobody could compare before, turned out to differ.
        secret: the one that the relay made, shown this once; None where the file gave one.
    """

    action: Action
    kind: str
    name: str
    changes: Mapping[str, tuple[Any, Any]]
    secret: str | None = field(default=None, repr=False)


async def apply(
    client: Client, wanted: Mapping[str, list[Wanted]], *, prune: bool, dry_run: bool
) -> AsyncGenerator[Done]:
    """Make a relay match, step by step, and say of each what became of it, or what would.

    Raises:
        ApiError: the API could not be asked, or refused a step, which is named; those before it are done.
    """
    present = {
        kind: {f"{path}/{segment(row.get('id') or row['brand'])}": row async for row in client.each(path)}
        for kind, path in _PATHS.items()
        if kind in wanted
    }
    for step in plan(wanted, present, prune=prune):
        try:
            yield Done(step.action, step.kind, step.name, step.changes) if dry_run else await _carry_out(client, step)
        except ApiError as refused:
            raise ApiError(f"{_label(step.kind)} {step.name}: {refused.message}", status=refused.status) from None


async def _carry_out(client: Client, step: Step) -> Done:
    action, secret = step.action, None
    if step.action == "remove":
        await client.call("DELETE", step.path)
    elif step.action == "create":
        made = await client.call("POST", step.path, json=step.body)
        secret = None if "secret" in (step.body or {}) else made.get("secret")
    elif step.body:
        before = await client.call("GET", step.path)
        after = await client.call("PATCH", step.path, json=step.body)
        if action == "keep" and after.get("updated_at") != before.get("updated_at"):
            action = "change"
    return Done(action, step.kind, step.name, step.changes, secret)


def describe(done: Done) -> str:
    """Write what became of a step, in a line for people."""
    line = f"{_label(done.kind)} {done.name}: {_WORDS[done.action]}"
    if done.secret is not None:
        return f"{line}; its secret, shown this once: {done.secret}"
    if done.action != "change":
        return line
    changes = [f"{name} {present!r} → {wanted!r}" for name, (present, wanted) in done.changes.items()]
    return f"{line} {', '.join(changes) or ' or '.join(SECRETS[done.kind])}"


_WORDS: Final[Mapping[Action, str]] = {"create": "create", "change": "change", "remove": "remove", "keep": "unchanged"}


def _label(kind: str) -> str:
    return kind.removesuffix("s")
