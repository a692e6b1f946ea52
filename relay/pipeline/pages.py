"""Does another page of a list follow?"""

from dataclasses import dataclass, field
from typing import Final

from relay.pipeline.reading import Taken, Tally

REPEATS_TO_END: Final = 3
"""Pages on end without one row that was not on a page before: the list does not turn its pages, or does not end."""


@dataclass(slots=True)
class Pages:
    """The pages of one list, as they are read one after another.

    Attributes:
        tally: of the look that reads them.
        seen: ids of the rows that were on them.
        repeats: how many of the last ones brought none that had not been on one before.
    """

    tally: Tally
    seen: set[int] = field(default_factory=set)
    repeats: int = 0

    def end_with(self, page: Taken) -> bool:
        """Whether this page is the last. One may be shorter than asked for, so that its length does not tell.

        An empty page tells, the total, where there is one, and pages that say again and again what is known from the
        ones before. Rows that come in above while a list is read repeat some of a page, seldom all of it, and not
        thrice on end.
        """
        ids = {key.id for key in page.keys}
        self.repeats = self.repeats + 1 if ids and ids <= self.seen else 0
        self.seen |= ids
        return not page.rows or self.tally.is_whole or self.repeats >= REPEATS_TO_END
