"""What does a counter show when Redis has lost its last second? What it showed before.

For Prometheus a lower value is a restart from zero, and the whole total would be counted again.
"""

from collections.abc import Mapping

Counters = Mapping[tuple[str, ...], int]


class HighWater:
    """Remembers how high each counter stood, as long as it is the same counter."""

    def __init__(self) -> None:
        self._marks: dict[tuple[str, ...], int] = {}
        self._since_ms = 0

    def hold(self, counters: Counters, *, since_ms: int) -> dict[tuple[str, ...], int]:
        """Give each counter as it stands, or as it stood where it is a little lower now.

        A counter that is gone, or at less than half, has begun anew (its brand was deleted and made again): it is shown
        as it is. Of a second's loss that is true of small ones only, where it does not matter.

        Args:
            counters: as read.
            since_ms: when the installation began: another moment is another installation, and other counters.
        """
        if since_ms != self._since_ms:
            self._since_ms, self._marks = since_ms, {}
        self._marks = {name: self._higher(name, value) for name, value in counters.items()}
        return dict(self._marks)

    def _higher(self, name: tuple[str, ...], value: int) -> int:
        mark = self._marks.get(name, 0)
        return mark if mark // 2 < value < mark else value
