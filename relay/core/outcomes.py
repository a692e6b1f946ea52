"""What does the end of an attempt mean? From status line or failure to what is counted, retried and blamed."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class StatusClass(StrEnum):
    """How an attempt is counted: the label ``status_class`` of ``relay_delivery_attempts_total``."""

    SUCCESS = "2xx"
    REDIRECT = "3xx"
    CLIENT_ERROR = "4xx"
    SERVER_ERROR = "5xx"
    TIMEOUT = "timeout"
    NETWORK = "network"
    REFUSED = "refused"


class Failure(StrEnum):
    """Why an attempt brought no status line, in one word: for logs, and as the start of an attempt's ``error``."""

    TIMEOUT = "timeout"  # the deadline passed first
    DNS = "dns"  # the name did not resolve
    CONNECT = "connect"  # nobody listens there, or no way leads there
    TLS = "tls"  # the handshake or the certificate failed; nothing was sent
    RESET = "reset"  # the connection ended before a status line
    PROTOCOL = "protocol"  # what came is not HTTP
    BLOCKED = "blocked"  # the guard refused the address; nothing was sent
    EMFILE = "emfile"  # this process ran out of file descriptors, ports or memory; nothing was sent
    INTERNAL = "internal"  # a fault of the relay itself


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt's end means for the delivery, its lane and its subscription.

    Attributes:
        status_class: how it is counted.
        success: the delivery is delivered.
        gone: the subscription is disabled at once (410).
        throttled: the whole lane waits, not only this delivery: 429, or 503 with ``Retry-After``.
        congested: fewer attempts at a time from now on: throttled, timed out, or 503.
        retry_after_s: how long the partner asked to wait, where that is to be honoured; else None.
        ours: the relay's own fault. Nothing reached the partner: put the delivery back without counting an attempt, and
            leave the lane's breaker and the five days alone.
    """

    status_class: StatusClass
    success: bool = False
    gone: bool = False
    throttled: bool = False
    congested: bool = False
    retry_after_s: float | None = None
    ours: bool = False


FAILURES: Final = {
    Failure.TIMEOUT: Outcome(StatusClass.TIMEOUT, congested=True),
    Failure.DNS: Outcome(StatusClass.NETWORK),
    Failure.CONNECT: Outcome(StatusClass.NETWORK),
    Failure.TLS: Outcome(StatusClass.NETWORK),
    Failure.RESET: Outcome(StatusClass.NETWORK),
    Failure.PROTOCOL: Outcome(StatusClass.NETWORK),
    Failure.BLOCKED: Outcome(StatusClass.REFUSED),
    Failure.EMFILE: Outcome(StatusClass.NETWORK, ours=True),
    Failure.INTERNAL: Outcome(StatusClass.NETWORK, ours=True),
}
"""What an attempt without a status line means."""

OUR_FAULT_WAIT_S: Final = 5.0
"""How long a delivery whose attempt failed by our own fault waits before it is tried again, uncounted."""

_SUCCESS: Final = Outcome(StatusClass.SUCCESS, success=True)
_REDIRECT: Final = Outcome(StatusClass.REDIRECT)
_CLIENT_ERROR: Final = Outcome(StatusClass.CLIENT_ERROR)
_GONE: Final = Outcome(StatusClass.CLIENT_ERROR, gone=True)
_SERVER_ERROR: Final = Outcome(StatusClass.SERVER_ERROR)
_NOT_FINAL: Final = Outcome(StatusClass.NETWORK)

_GONE_STATUS: Final = 410
_TOO_MANY_REQUESTS: Final = 429
_UNAVAILABLE: Final = 503


def classify(status_code: int | None, *, failure: Failure | None = None, retry_after_s: float | None = None) -> Outcome:
    """Say what the end of an attempt means.

    Args:
        status_code: of the final status line, None if none came.
        failure: why none came; only read where ``status_code`` is None.
        retry_after_s: the response's ``Retry-After`` in seconds, None if absent or unreadable.

    Returns:
        The outcome. A status line decides alone: whatever fails after it changes nothing. Three-digit codes from 600 on
        count as 5xx (RFC 9110, section 15); 101, which was not asked for, as a network failure.

    Raises:
        ValueError: neither a status code nor a failure was given.
    """
    if status_code is None:
        if failure is None:
            raise ValueError("an attempt without a status line needs its failure")
        return FAILURES[failure]
    hundreds = status_code // 100
    if hundreds == 2:  # noqa: PLR2004 - the class of success, RFC 9110 section 15.3
        return _SUCCESS
    if status_code == _TOO_MANY_REQUESTS:
        return Outcome(StatusClass.CLIENT_ERROR, throttled=True, congested=True, retry_after_s=retry_after_s)
    if status_code == _UNAVAILABLE:
        throttled = retry_after_s is not None
        return Outcome(StatusClass.SERVER_ERROR, throttled=throttled, congested=True, retry_after_s=retry_after_s)
    if status_code == _GONE_STATUS:
        return _GONE
    return {0: _NOT_FINAL, 1: _NOT_FINAL, 3: _REDIRECT, 4: _CLIENT_ERROR}.get(hundreds, _SERVER_ERROR)
