"""Which token does a brand's request carry, and who fetches the next one?"""

from dataclasses import dataclass
from typing import Final

from relay.store import keys
from relay.store.scripts import Scripts
from relay.store.vault import Vault

SIGN_IN_MAY_TAKE_MS: Final = 15_000
"""After that a worker that set out to sign in is taken for dead, and another does it."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token of Clopos', to be sent as it is.

    Attributes:
        value: opaque; never logged.
        generation: grows by one with each token of the brand.
        good_for_ms: until it ends, from when it was taken.
        renew_in_ms: until somebody should fetch the next one, from when it was taken.
    """

    value: str
    generation: int
    good_for_ms: int
    renew_in_ms: int

    def __repr__(self) -> str:
        return f"Token(generation={self.generation}, good_for_ms={self.good_for_ms})"


@dataclass(frozen=True, slots=True)
class Renew:
    """Whoever gets this signs in, for all.

    Attributes:
        failures: sign-ins that failed in a row before.
    """

    failures: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Another worker is signing in; ask again within that time."""

    wait_ms: int


@dataclass(frozen=True, slots=True)
class Held:
    """Signing in failed, and is not tried again before that time.

    Attributes:
        wait_ms: until the next try.
        reason: the slug of the failure.
        message: the sentence of the failure.
        since_ms: of the first failure in a row, epoch ms.
    """

    wait_ms: int
    reason: str
    message: str
    since_ms: int


class TokenStore:
    """The brands' tokens in Redis, sealed."""

    def __init__(self, scripts: Scripts, vault: Vault) -> None:
        self._scripts = scripts
        self._vault = vault

    async def take(
        self, brand: str, *, version: str, owner: str, refused: int | None = None
    ) -> Token | Renew | Wait | Held:
        """Ask for a token.

        Args:
            brand: whose.
            version: of its credentials; tokens and failures of other versions are forgotten.
            owner: a random name of the caller, for ``keep`` and ``fail``.
            refused: the generation of a token that Clopos no longer takes.
        """
        reply = await self._scripts.run(
            "token_take",
            [keys.token(brand)],
            [version, owner, SIGN_IN_MAY_TAKE_MS, "" if refused is None else refused],
        )
        match reply:
            case [b"token", sealed, generation, good_for_ms, renew_in_ms]:
                return Token(self._vault.open(sealed.decode()), generation, good_for_ms, renew_in_ms)
            case [b"renew", failures, _]:
                return Renew(failures)
            case [b"wait", wait_ms]:
                return Wait(wait_ms)
            case [b"held", wait_ms, reason, message, since_ms]:
                return Held(wait_ms, reason.decode(), message.decode(), since_ms)
        raise AssertionError(reply)

    async def keep(self, brand: str, token: Token, *, version: str, owner: str) -> Token:
        """Share a token that was just fetched; gives it back with its generation."""
        generation = await self._scripts.run(
            "token_keep",
            [keys.token(brand)],
            [version, owner, self._vault.seal(token.value), token.good_for_ms, token.renew_in_ms, ""],
        )
        return Token(token.value, generation, token.good_for_ms, token.renew_in_ms)

    async def fail(self, brand: str, held: Held, *, version: str, owner: str) -> None:
        """Tell everybody that signing in failed, and when to try again."""
        await self._scripts.run(
            "token_keep", [keys.token(brand)], [version, owner, "", held.wait_ms, held.reason, held.message]
        )
