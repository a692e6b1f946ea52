"""Is what was sent what is kept sealed?  Sealing the same anew would look like a change."""

from relay.core.errors import CorruptStateError
from relay.store.vault import Vault


def is_sealed(vault: Vault, token: str, text: str) -> bool:
    """Whether that text is in that seal; False where the seal cannot be opened any more."""
    try:
        return vault.open(token) == text
    except CorruptStateError:
        return False
