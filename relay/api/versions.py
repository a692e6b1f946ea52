"""Is a document still the one that the client has read?  Its ETag, and If-Match."""

import hashlib
from typing import Any

from relay.api.operations import Call
from relay.api.problems import ProblemError
from relay.store.documents import Stored


def etag_of(stored: Stored[Any], *, generation: str) -> str:
    """The ETag of a document: its version, and what tells it from an earlier one of the same name.

    Args:
        generation: made anew when a document of that name is.
    """
    return f"{stored.version}-{hashlib.blake2b(generation.encode(), digest_size=4).hexdigest()}"


def version_wanted(call: Call, present: Stored[Any], *, generation: str) -> int | None:
    """The version that may be changed; None when the client did not say.

    Raises:
        ProblemError: 412: it names another one.
    """
    if call.if_match is None or "*" in call.if_match:
        return None
    if etag_of(present, generation=generation) not in call.if_match:
        raise ProblemError(
            "precondition_failed", "It was changed since you read it: read it again and repeat the change."
        )
    return present.version
