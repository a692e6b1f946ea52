"""Which parts of the documents are the code's own tables? Those between markers; this writes them.

    python docs/generate.py            write them
    python docs/generate.py --check    say which page differs, and change nothing

A part stands between `<!-- made by docs/generate.py: NAME -->` and `<!-- end -->`. What a table of the code leaves
unsaid (the meaning of a setting, of a field) is said in `words.yaml` beside this; a name too many or too few there is
an error.
"""
# ruff: noqa: INP001, T201  a script, not a package: it prints what it did

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, TypeAdapter
from redis.exceptions import AuthenticationError, BusyLoadingError, OutOfMemoryError, ReadOnlyError, ResponseError

from relay import metrics
from relay.api.problem_types import TYPES
from relay.clopos.advice import ADVICE
from relay.core import schemas
from relay.core.durations import format_duration
from relay.core.events import EVENT_TYPES
from relay.core.outcomes import FAILURES
from relay.core.retry import DEFAULT_DELAYS_S
from relay.core.shaping import ROUTING, SOURCES, Shape, apply_shape
from relay.core.subscriptions import PATTERNS
from relay.settings import SETTINGS, Role, Setting, Settings, SettingsError, load_settings
from relay.store import keys
from relay.store.away import explain

DOCS: Final = Path(__file__).parent
WORDS: Final[dict[str, dict[str, str]]] = yaml.safe_load((DOCS / "words.yaml").read_text(encoding="utf-8"))
PART: Final = re.compile(r"(<!-- made by docs/generate\.py: ([^\n]+) -->\n).*?(<!-- end -->)", re.DOTALL)
WIDTH: Final = 110
DECIMAL: Final = TypeAdapter(schemas.DecimalText).json_schema()["pattern"]
MODELS: Final = [name for name, found in vars(schemas).items() if hasattr(found, "model_fields")]
BAR: Final = r"\|"


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table in Markdown."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', BAR) for cell in line)} |\n" for line in lines)


def code(text: object) -> str:
    """Write a word as code; nothing as nothing."""
    return f"`{text}`" if text else ""


def words(part: str, names: Iterable[str]) -> Mapping[str, str]:
    """What is said in `words.yaml` of exactly these names.

    Raises:
        ValueError: a name there is not one of these, or one of these is not there.
    """
    names = list(names)
    wrong = set(names) ^ WORDS[part].keys()
    if wrong:
        raise ValueError(f"docs/words.yaml, {part}: too many or missing: {', '.join(sorted(wrong))}")
    return WORDS[part]


# ---- for operators ----


def settings() -> str:
    """Every setting: default, what it takes, who cannot do without it."""
    said = words("settings", (setting.name for setting in SETTINGS))
    needed = {role: _missing(role) for role in (Role.API, Role.SCHEDULER, Role.WORKER)}
    rows = []
    for setting in SETTINGS:
        default = _default(setting)
        who = [f"`{role}`" for role, names in needed.items() if setting.name in names]
        meaning = f"{said[setting.name]} {_bounds(setting)}".strip()
        rows.append([code(setting.name), default, meaning + (f" Needed by {', '.join(who)}." if who else "")])
    return table(["name", "default", ""], rows)


def _default(setting: Setting) -> str:
    if setting.name in WORDS["defaults"]:
        return WORDS["defaults"][setting.name]
    found = getattr(Settings(), setting.attribute)
    if setting.attribute.endswith("_s"):
        found = format_duration(timedelta(seconds=found))
    elif isinstance(found, tuple):
        found = ",".join(format_duration(timedelta(seconds=each)) for each in found)
    return code(found) or "none"


def _bounds(setting: Setting) -> str:
    """What its own parser says of too little and too much."""
    if setting.attribute.endswith("_s"):
        least, most = (_refusal(setting, text).partition(": ")[2] for text in ("0s", "3650d"))
        return f"{least[:1].upper()}{least[1:]}, {most}."
    whole = re.search(r"from (\d+) to (\d+)", _refusal(setting, "x"))
    return f"{whole[1]} to {whole[2]}." if whole else ""


def _refusal(setting: Setting, text: str) -> str:
    try:
        setting.parse(text)
    except ValueError as wrong:
        return str(wrong)
    return ""


def _missing(role: Role) -> set[str]:
    try:
        load_settings({}, role=role)
    except SettingsError as wrong:
        return {problem.partition(" ")[0] for problem in wrong.problems}
    return set()


def metric_table() -> str:
    """Every metric."""
    rows = [[code(row.name), row.kind, ", ".join(map(code, row.labels)), row.help] for row in metrics.TABLE]
    return table(["metric", "type", "labels", ""], rows)


def problem_types() -> str:
    """Every type of problem that the API answers with."""
    rows = [[code(each.code), str(each.status), each.title, each.advice] for each in TYPES.values()]
    return table(["code", "status", "title", "what to do"], rows)


def redis_keys() -> str:
    """Every key, as its declaration has it."""
    rows = [line for line in (keys.__doc__ or "").splitlines() if line.startswith("|")]
    return "\n".join([*rows[:2], *(re.sub(r"^\| ([^|]+) \|", r"| `\1` |", row) for row in rows[2:])]) + "\n"


def brand_errors() -> str:
    """What the state of a brand says when Clopos does not do as it should."""
    said = words("reach", {each.reach for each in ADVICE.values()})
    rows = [[code(reason), said[each.reach], each.words] for reason, each in ADVICE.items()]
    return table(["reason", "stops", "in words"], rows)


def redis_errors() -> str:
    """What is said of a Redis that fails."""
    raised = (
        ConnectionError(),
        AuthenticationError(),
        BusyLoadingError(),
        ReadOnlyError(),
        OutOfMemoryError(),
        ResponseError("MISCONF"),
        ResponseError("BUSY"),
    )
    told = [error for error in map(explain, raised) if error is not None]
    said = words("redis", (error.reason for error in told))
    return table(
        ["reason", "in words", ""], ([code(error.reason), error.message, said[error.reason]] for error in told)
    )


def attempt_errors() -> str:
    """How an attempt's error begins where no status line came."""
    said = words("failures", FAILURES)
    rows = [
        [code(failure), said[failure], "no: put back" if outcome.ours else "yes", code(outcome.status_class)]
        for failure, outcome in FAILURES.items()
    ]
    return table(["error", "", "counts as an attempt", "`status_class`"], rows)


def schedule() -> str:
    """When a delivery is tried, by default."""
    rows, total_s = [["1", "", "at once"]], 0.0
    for number, delay_s in enumerate(DEFAULT_DELAYS_S, start=2):
        total_s += delay_s
        rows.append([str(number), format_duration(timedelta(seconds=delay_s)), _spoken(total_s)])
    return table(["attempt", "after another", "after the first, about"], rows)


def _spoken(seconds: float) -> str:
    """A length of time in its two largest units."""
    units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    left, parts = int(seconds), []
    for unit, size in units:
        count, left = divmod(left, size)
        parts += [f"{count} {unit}"] if count else []
    return " ".join(parts[:2])


def faults(*group: str) -> str:
    """Rows of `reliability.yaml`: what goes wrong, what holds all the same, the tests that show it."""
    told = yaml.safe_load((DOCS / "reliability.yaml").read_text(encoding="utf-8"))[" ".join(group)]
    rows = []
    for number, row in told.items():
        holds = f"{row['holds']}. Shows in: {row['signal']}" if "signal" in row else row["holds"]
        tests = [f"[`{name}`](../tests/{file})" for file, names in row["shown"].items() for name in names]
        result = f"holds. {row['left']}" if "left" in row else "holds"
        rows.append([number, row["fault"], holds, "<br>".join(tests), result])
    return table(["", "what goes wrong", "what holds", "shown by", "result; what is not shown, and why"], rows)


# ---- for partners ----


def event_types(page: str = "") -> str:
    """Every type of event, linked to its example, on this page or another."""
    rows = [[f"[`{each.name}`]({page}#{_anchor(each.name)})", each.description] for each in EVENT_TYPES.values()]
    return table(["type", "when"], rows)


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def examples() -> str:
    """Every type of event, whole."""
    return "\n".join(
        f"### {each.name}\n\n{each.description}\n\n```json\n{pretty(each.example)}\n```\n"
        for each in EVENT_TYPES.values()
    )


def example(name: str) -> str:
    """One of them."""
    return f"```json\n{pretty(EVENT_TYPES[name].example)}\n```\n"


def masked(name: str, *paths: str) -> str:
    """What a mask leaves of an example: the fields that it touches."""
    data = EVENT_TYPES[name].example["data"]
    left = json.loads(apply_shape(json.dumps(data).encode(), None, Shape(redact=paths)))
    fields = {path.partition(".")[0] for path in paths}
    order = {field: value for field, value in left["order"].items() if field in fields}
    return f"```json\n{pretty({'order': order, 'changes': left['changes']})}\n```\n"


def pretty(value: Any, indent: str = "", before: int = 0) -> str:
    """Write JSON; what fits into a line stays in one."""
    short = json.dumps(value, ensure_ascii=False)
    if len(indent) + before + len(short) < WIDTH or not isinstance(value, dict | list):
        return short
    inner = indent + "  "
    if isinstance(value, dict):
        heads = {key: f"{json.dumps(key)}: " for key in value}
        parts = [heads[key] + pretty(each, inner, len(heads[key])) for key, each in value.items()]
        return "{\n" + ",\n".join(inner + part for part in parts) + f"\n{indent}}}"
    return "[\n" + ",\n".join(inner + pretty(each, inner) for each in value) + f"\n{indent}]"


def model_fields(*names: str) -> str:
    """Fields of models of `relay.core.schemas`, one table for all."""
    rows = []
    known = {f"{name}.{field}" for name in MODELS for field in getattr(schemas, name).model_fields}
    if not WORDS["fields"].keys() <= known:
        raise ValueError(f"docs/words.yaml, fields: no such field: {', '.join(WORDS['fields'].keys() - known)}")
    for name in names:
        model: type[BaseModel] = getattr(schemas, name)
        described = model.model_json_schema(mode="serialization")
        for field, schema in described["properties"].items():
            meaning = WORDS["fields"].get(f"{name}.{field}") or schema.get("description")
            if not meaning:
                raise ValueError(f"docs/words.yaml, fields: nothing is said of {name}.{field}")
            rows.append([code(field), json_type(schema), meaning])
    return table(["field", "type", ""], rows)


def json_type(schema: Mapping[str, Any]) -> str:
    """A JSON Schema in a few words."""
    match schema:
        case {"anyOf": kinds}:
            return " or ".join(dict.fromkeys(map(json_type, kinds)))
        case {"enum": values}:
            return ", ".join(map(code, values))
        case {"$ref": str(name)}:
            return _link(name, "object")
        case {"type": "array", "items": {"$ref": str(name)}}:
            return f"list of {_link(name, 'objects')}"
    return "decimal" if schema.get("pattern") == DECIMAL else str(schema["type"])


def _link(name: str, text: str) -> str:
    return f"[{text}](#{_anchor(WORDS['headings'][name.rpartition('/')[2]])})"


def filters() -> str:
    """Everything that `event_types` of a subscription may hold."""
    return ", ".join(f"`{pattern}`" for pattern in PATTERNS if "*" in pattern) + "\n"


def masks() -> str:
    """Every path that can be masked, and where in Clopos' row its value is masked too."""
    rows = [[code(path), ", ".join(f"`{place}`" for place in places)] for path, places in SOURCES.items()]
    kept = ", ".join(f"`{name}`" for name in sorted(ROUTING))
    return table(["path", "masked in `raw`"], rows) + f"\nNever masked: {kept}.\n"


def file(path: str) -> str:
    """A file beside this, whole."""
    language = {".py": "python", ".mjs": "js", ".php": "php"}[Path(path).suffix]
    return f"```{language}\n{(DOCS / path).read_text(encoding='utf-8')}```\n"


PARTS: Final[Mapping[str, Callable[..., str]]] = {
    "settings": settings,
    "metrics": metric_table,
    "problem types": problem_types,
    "keys of Redis": redis_keys,
    "errors of a brand": brand_errors,
    "errors of Redis": redis_errors,
    "errors of an attempt": attempt_errors,
    "schedule": schedule,
    "faults": faults,
    "event types": event_types,
    "examples": examples,
    "example": example,
    "masked": masked,
    "fields": model_fields,
    "filters": filters,
    "masks": masks,
    "file": file,
}
"""By the name in a marker; what follows the name there, after a colon, are its arguments."""


def made(page: str) -> str:
    """A page with every part made anew."""

    def part(found: re.Match[str]) -> str:
        name, _, arguments = found[2].partition(": ")
        return f"{found[1]}\n{PARTS[name](*arguments.split())}\n{found[3]}"

    return PART.sub(part, page)


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or check them."""
    stale = []
    for path in sorted(DOCS.glob("*.md")):
        before = path.read_text(encoding="utf-8")
        after = made(before)
        if after != before:
            stale.append(path.name)
            if "--check" not in arguments:
                path.write_text(after, encoding="utf-8")
    print("\n".join(stale) or "all as the code has it")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
