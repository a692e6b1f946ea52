"""Is Redis away, or does it refuse to write?  What redis-py raises, as an error of ours that says which."""

from typing import Final

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    MaxConnectionsError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from relay.core.errors import CorruptStateError, OursError, StoreAwayError

STORE_ERRORS: Final = (RedisError, ConnectionError, TimeoutError)
"""What a call of the store may raise when it is Redis that fails."""

_KINDS: Final = (
    (OutOfMemoryError, "oom"),
    (ReadOnlyError, "readonly"),
    (BusyLoadingError, "loading"),
    ((AuthenticationError, AuthorizationError, NoPermissionError), "redis_auth"),
    (MaxConnectionsError, "busy"),
)
"""Class of redis-py -> reason; the first that fits."""

_REPLIES: Final = {
    "OOM": "oom",
    "MISCONF": "misconf",
    "BUSY": "busy",
    "LOADING": "loading",
    "MASTERDOWN": "away",
    "NOREPLICAS": "misconf",
    "TRYAGAIN": "away",
    "READONLY": "readonly",
    "NOAUTH": "redis_auth",
    "NOPERM": "redis_auth",
    "WRONGPASS": "redis_auth",
    "max number of clients": "busy",
    "Authentication required": "redis_auth",
}
"""Part of an error reply -> reason. Within a script's error, or while it connects, redis-py does not recognize them."""

_SENTENCES: Final = {
    "away": "Redis does not answer.",
    "busy": "Redis is busy.",
    "loading": "Redis is loading its data.",
    "misconf": "Redis cannot write to its disk or its replicas, and refuses to write at all.",
    "oom": "Redis is out of memory and refuses to write.",
    "readonly": "Redis is a replica at the moment, and refuses to write.",
    "redis_auth": "Redis does not accept the relay's credentials.",
}


def explain(error: BaseException) -> OursError | None:
    """Say what a failure of Redis means; None for what is not Redis'.

    Source:
        The prefixes of Redis' error replies: https://redis.io/docs/latest/develop/reference/protocol-spec/.
    """
    if not isinstance(error, STORE_ERRORS):
        return None
    reason = next((reason for kinds, reason in _KINDS if isinstance(error, kinds)), None)
    if reason is None:
        text = str(error)
        if "WRONGTYPE" in text:
            return CorruptStateError("A key of the relay's holds what the relay did not write.")
        reason = next((reason for part, reason in _REPLIES.items() if part in text), None)
        if reason is None and isinstance(error, ResponseError):
            return OursError("Redis refused a command.", reason="redis")
    reason = reason or "away"
    return StoreAwayError(_SENTENCES[reason], reason=reason)
