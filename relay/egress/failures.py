"""Why did an attempt bring no status line? The one place where foreign exceptions become a failure and a sentence.

    what was raised                                        failure
    ──────────────────────────────────────────────────────────────────
    BlockedError, anywhere in the chain                    blocked
    OSError EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL emfile
    ClientConnectorDNSError                                dns
    ClientConnectorCertificateError, …SSLError             tls
    ClientConnectorError                                   connect
    another ClientError, another OSError                    reset
    HttpProcessingError                                    protocol

Sentences are made here of constants and of what the system says of an error; they hold no URL, header or body.
"""

import errno
import os
import socket
import ssl
from dataclasses import dataclass
from typing import Final

from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientConnectorSSLError,
    ClientError,
)
from aiohttp.http import HttpProcessingError

from relay.core.outcomes import Failure
from relay.egress.guard import BlockedError, LookupTimeoutError
from relay.egress.progress import Stage

OUT_OF_RESOURCES: Final = frozenset({
    errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EAGAIN,
})  # fmt: skip
"""The system's ways to say that this process, not the partner, has run out of something."""

_CONNECT_SENTENCES: Final = {
    errno.ECONNREFUSED: "nobody listens on that port",
    errno.EHOSTUNREACH: "no way leads to the host",
    errno.ENETUNREACH: "no way leads to the network",
    errno.ETIMEDOUT: "the host did not answer",
    errno.ECONNRESET: "the connection was reset while it was being made",
}


@dataclass(frozen=True, slots=True)
class Explained:
    """A failure and what to say of it."""

    failure: Failure
    sentence: str


def explain(error: ClientError | HttpProcessingError | OSError) -> Explained:
    """Say what an exception of aiohttp or of the system means."""
    chain = _chain(error)
    blocked = next((one for one in chain if isinstance(one, BlockedError)), None)
    if blocked is not None:
        return Explained(Failure.BLOCKED, blocked.refusal.reason)
    if any(isinstance(one, OSError) and one.errno in OUT_OF_RESOURCES and not _is_lookup(one) for one in chain):
        return Explained(Failure.EMFILE, "this process is out of file descriptors, ports or memory")
    if isinstance(error, ClientConnectorDNSError):
        return _explain_lookup(error.os_error)
    return _explain_connection(error)


def explain_deadline(stage: Stage, timeout_s: float) -> Explained:
    """Say what an attempt's deadline cut short."""
    sentence = f"no answer within {timeout_s:g} s: {stage.value}"
    match stage:
        case Stage.QUEUED:
            return Explained(Failure.EMFILE, sentence)
        case Stage.RESOLVING:
            return Explained(Failure.DNS, sentence)
        case _:
            return Explained(Failure.TIMEOUT, sentence)


def _explain_connection(error: ClientError | HttpProcessingError | OSError) -> Explained:
    match error:
        case ClientConnectorCertificateError():
            words = f"the certificate is not to be trusted: {_certificate_words(error)}"
            return Explained(Failure.TLS, words)
        case ClientConnectorSSLError():
            return Explained(Failure.TLS, f"the TLS handshake failed: {_tls_words(error.os_error)}")
        case ClientConnectorError() if (
            isinstance(error.os_error, ConnectionResetError) and error.os_error.errno is None
        ):
            # asyncio's way to say that the peer went away between connecting and the end of the handshake.
            return Explained(Failure.TLS, "the connection ended during the TLS handshake")
        case ClientConnectorError():
            words = _CONNECT_SENTENCES.get(error.os_error.errno or 0, "the connection could not be made")
            return Explained(Failure.CONNECT, words)
        case HttpProcessingError():
            return Explained(Failure.PROTOCOL, "what came back is not HTTP/1.1")
        case _:
            return Explained(Failure.RESET, "the connection ended before a status line came")


def _explain_lookup(error: OSError) -> Explained:
    if isinstance(error, LookupTimeoutError):
        return Explained(Failure.DNS, "the name server did not answer in time")
    if not _has_descriptors():
        # The C library then says "try again" or "no such name", and means our own process.
        return Explained(Failure.EMFILE, "this process is out of file descriptors")
    if error.errno in {socket.EAI_NONAME, socket.EAI_NODATA}:
        return Explained(Failure.DNS, "the host name does not resolve to an address")
    return Explained(Failure.DNS, "the name server failed; this may pass")


def _chain(error: BaseException) -> list[BaseException]:
    """List an exception and those behind it, the outermost first."""
    chain: list[BaseException] = []
    step: BaseException | None = error
    while step is not None and step not in chain:
        chain.append(step)
        inner = getattr(step, "os_error", None)
        step = inner if isinstance(inner, BaseException) else step.__cause__
    return chain


def _is_lookup(error: OSError) -> bool:
    return isinstance(error, socket.gaierror)  # its numbers are another table's


def _has_descriptors() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return False
    return True


def _certificate_words(error: ClientConnectorCertificateError) -> str:
    certificate_error = error.certificate_error
    if isinstance(certificate_error, ssl.SSLCertVerificationError) and certificate_error.verify_message:
        return certificate_error.verify_message
    return "it does not fit the host"


def _tls_words(error: OSError) -> str:
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    return (reason or "no reason given").lower().replace("_", " ")
