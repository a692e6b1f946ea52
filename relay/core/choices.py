"""Is everything in a list one of the known choices, and there once?"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Final

from relay.core.errors import Problem

_NONE: Final[Mapping[str, str]] = {}


def check_choices(
    values: Sequence[object], known: Collection[str], *, what: str, example: str, barred: Mapping[str, str] = _NONE
) -> list[Problem]:
    """Check a list that a caller sent; an empty answer means that all is well.

    Args:
        values: as they were sent.
        known: what there is to choose from.
        what: what each of them is, as ``an event type``.
        example: one or some that would be right, in words.
        barred: choices that exist and may not be made -> why.

    Returns:
        A problem for each value that is no text, barred, there twice, or unknown (with the nearest known one); pointers
        are relative to the list. What was sent is not repeated.
    """
    problems = []
    seen: set[str] = set()
    for index, value in enumerate(values):
        if not isinstance(value, str):
            detail = f"Must be a string: {what}, such as {example}."
        elif value in barred:
            detail = barred[value]
        elif value in seen:
            detail = "Is there twice."
        elif value not in known:
            detail = f"Is no {what.partition(' ')[2]}{_nearest(value, known)}"
        else:
            seen.add(value)
            continue
        problems.append(Problem(f"/{index}", detail))
    return problems


def _nearest(value: str, known: Iterable[str]) -> str:
    near = get_close_matches(value[:64], known, n=1)
    return f"; did you mean {near[0]}?" if near else "."
