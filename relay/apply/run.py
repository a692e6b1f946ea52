"""How is a relay made to match a file? Step by step, and each said in words."""

from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from relay.apply.file import SECRETS, FileWrongError, Wanted, told
from relay.apply.plan import PATHS, Action, Step, plan
from relay.client import ApiError, Client, segment


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
        FileWrongError: what is to be created lacks something; nothing was done.
        ApiError: the API could not be asked, or refused a step, which is named; those before it are done.
    """
    present = {
        kind: {f"{path}/{segment(row.get('id') or row['brand'])}": row async for row in client.each(path)}
        for kind, path in PATHS.items()
        if kind in wanted
    }
    steps = plan(wanted, present, prune=prune)
    made = [step.wanted for step in steps if step.action == "create" and step.wanted is not None]
    problems = [told(each, *fault) for each in made for fault in each.faults(missing=True)]
    if problems:
        raise FileWrongError("\n".join(problems))
    for step in steps:
        try:
            yield Done(step.action, step.kind, step.name, step.changes) if dry_run else await _carry_out(client, step)
        except ApiError as refused:
            raise ApiError(_refusal(step, refused), status=refused.status) from None


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


def _refusal(step: Step, refused: ApiError) -> str:
    """Say what the relay refused of a step: each fault with its line, where the file has one."""
    if not refused.faults or step.wanted is None:
        return f"{_label(step.kind)} {step.name}: {refused.message}"
    return "\n".join(told(step.wanted, pointer, detail) for pointer, detail in refused.faults)


def describe(done: Done) -> str:
    """Write what became of a step, in lines for people: what, and below it field by field."""
    lines = [f"{_label(done.kind)} {done.name}: {_WORDS[done.action]}"]
    if done.action == "create":
        lines += [f"    {name}: {_shown(wanted)}" for name, (_, wanted) in done.changes.items()]
    elif done.action == "change":
        lines += [
            f"    {name}: {_shown(present)} → {_shown(wanted)}" for name, (present, wanted) in done.changes.items()
        ] or [f"    {' or '.join(SECRETS[done.kind])}"]
    if done.secret is not None:
        lines.append(f"    its secret, shown this once: {done.secret}")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) and value else orjson.dumps(value, default=str).decode()


def summary(actions: Sequence[Action], *, dry_run: bool) -> str:
    """Write what became of all of it, in a line."""
    counted = Counter(actions)
    words = [f"{counted[action]} {word}" for action, word in _TOGETHER.items() if counted[action]]
    return f"{'would be: ' if dry_run else ''}{', '.join(words) or 'nothing is wanted'}"


_WORDS: Final[Mapping[Action, str]] = {"create": "create", "change": "change", "remove": "remove", "keep": "unchanged"}
_TOGETHER: Final[Mapping[Action, str]] = {
    "create": "created",
    "change": "changed",
    "remove": "removed",
    "keep": "unchanged",
}


def _label(kind: str) -> str:
    return kind.removesuffix("s")
