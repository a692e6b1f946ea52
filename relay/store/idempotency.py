"""Was this request made before?  What its Idempotency-Key says, for 24 hours."""

import hashlib
from dataclasses import dataclass
from typing import Any, Final

from relay.store import keys
from relay.store.scripts import Scripts
from relay.store.vault import Vault

REMEMBERED_MS: Final = 86_400_000
RUN_MS: Final = 60_000
"""A request that has not ended by then was cut off; a repeat may run."""


@dataclass(frozen=True, slots=True)
class Run:
    """Run it, and end it with this.

    Attributes:
        nonce: hex. The same one for a repeat of a run that was cut off: ids made from it are found again.
    """

    request: str
    nonce: str


@dataclass(frozen=True, slots=True)
class Running:
    """The first one still runs; it counts as cut off in ``wait_ms``."""

    wait_ms: int


@dataclass(frozen=True, slots=True)
class OtherRequest:
    """The key was used for a request that was not the same."""


@dataclass(frozen=True, slots=True)
class Done:
    """The answer that was given, as it was kept."""

    answer: str


class IdempotencyStore:
    """Answers by key, sealed: they may hold a secret that is shown once."""

    def __init__(self, scripts: Scripts, vault: Vault) -> None:
        self._scripts = scripts
        self._vault = vault

    async def begin(
        self, *, caller: str, key: str, fingerprint: str, nonce: str
    ) -> Run | Running | OtherRequest | Done:
        """Ask whether a request may run.

        Args:
            caller: whose key it is; two callers' equal keys have nothing to do with each other.
            key: as sent.
            fingerprint: digest of method, path and body.
            nonce: random, hex.
        """
        request = keys.idempotency(hashlib.sha256(f"{caller}\n{key}".encode()).hexdigest())
        reply: Any = await self._scripts.run(
            "idempotency_begin", [request], [fingerprint, nonce, RUN_MS, REMEMBERED_MS]
        )
        match reply:
            case [b"run", kept]:
                return Run(request, kept.decode())
            case [b"running", wait_ms]:
                return Running(int(wait_ms))
            case [b"done", answer]:
                return Done(self._vault.open(answer.decode()))
        return OtherRequest()

    async def end(self, run: Run, answer: str | None) -> None:
        """Remember the answer; None lets a repeat run at once."""
        await self._scripts.run(
            "idempotency_end", [run.request], [run.nonce, "" if answer is None else self._vault.seal(answer)]
        )
