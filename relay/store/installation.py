"""Since when is there something in Redis that could be lost?"""

from dataclasses import dataclass

from relay.store import keys
from relay.store.scripts import Scripts


@dataclass(frozen=True, slots=True)
class Standing:
    """What was found.

    Attributes:
        since_ms: when the installation began, Redis' clock; 0 before its first brand or subscription.
        missing: it began once, and Redis knows nothing of it.
    """

    since_ms: int
    missing: bool


class InstallationStore:
    """Reads the moment at which the first brand or subscription was noted; notes it when it is asked first."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    async def since_ms(self) -> int:
        """Epoch ms, Redis' clock; 0 while there never was a brand or a subscription, or all of it is lost."""
        found = await self._scripts.run(
            "installation", [keys.INSTALLATION, keys.document("brand"), keys.document("subscription")], []
        )
        try:
            return int(found)
        except ValueError:  # somebody wrote over it: that there is something is what matters
            return 1
