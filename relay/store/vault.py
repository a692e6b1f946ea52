"""How are secrets kept at rest?"""

from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from relay.core.errors import CorruptStateError


class Vault:
    """Seals secrets with the first key, opens them with any (`RELAY_SECRET_KEYS`)."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Take the keys, newest first.

        Raises:
            ValueError: there is none, or one is no Fernet key (the message never holds it).
        """
        if not keys:
            raise ValueError("RELAY_SECRET_KEYS is empty")
        self._fernet = MultiFernet([Fernet(key) for key in keys])

    def seal(self, text: str) -> str:
        """Encrypt; the same text never seals to the same token twice."""
        return self._fernet.encrypt(text.encode()).decode()

    def open(self, token: str) -> str:
        """Decrypt.

        Raises:
            CorruptStateError: none of the keys fits.
        """
        try:
            return self._fernet.decrypt(token.encode()).decode()
        except InvalidToken:
            raise CorruptStateError(
                "a stored secret cannot be decrypted: put the key that sealed it back into RELAY_SECRET_KEYS"
            ) from None

    def rotate(self, token: str) -> str:
        """Seal anew with the first key, without showing the text."""
        try:
            return self._fernet.rotate(token.encode()).decode()
        except InvalidToken:
            raise CorruptStateError(
                "a stored secret cannot be decrypted: put the key that sealed it back into RELAY_SECRET_KEYS"
            ) from None
