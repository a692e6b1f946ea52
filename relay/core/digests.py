"""When are two objects the same, but for when they were touched?"""

import hashlib
from collections.abc import Mapping
from typing import Any

from relay.core.normalize import canonical_json

DIGEST_BYTES = 8


def content_digest(value: Mapping[str, Any]) -> str:
    """Digest of an object without ``updated_at``, independent of the order of its keys; 16 hex digits."""
    content = {key: part for key, part in value.items() if key != "updated_at"}
    return hashlib.blake2b(canonical_json(content, sort_keys=True), digest_size=DIGEST_BYTES).hexdigest()
