"""One wide line for each thing that happened: on stderr, JSON or readable, escaped, without secrets, never blocking."""

import atexit
import collections
import contextlib
import functools
import logging
import os
import re
import select
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, Self, TextIO

import orjson
import structlog

from relay.core.errors import RelayError

LogFormat = Literal["console", "json"]
Level = Literal["debug", "info", "warning", "error"]

LINES_HELD: Final = 10_000
"""Lines kept while the reader of the output does not read; what comes on top is dropped, and counted."""

_LONGEST_TEXT: Final = 2_000
_FRAMES: Final = 5
_DEEPEST: Final = 6
_HIDDEN: Final = "[redacted]"
_SENSITIVE: Final = re.compile(r"secret|token|authorization|password|cookie|phone|address|customer", re.IGNORECASE)
_HARMLESS: Final = re.compile(r"_(at|id|ms|s)\Z")  # token_expires_at, secret_id: about one, not one
_IN_TEXT: Final = re.compile(
    r"(?<=://)[^/\s@]+(?=@)"  # redis://user:password@host
    r"|(?<=whsec_)[\w+/=-]+"
    r"|(?<=whsk_)[\w+/=-]+"
    r"|(?<=Bearer )\S+"
)
_SUSPECT: Final = re.compile("://|whsec_|whsk_|Bearer ")
"""In every text that ``_IN_TEXT`` would change."""
_SHORT: Final = 200
# C0, DEL, C1; line and paragraph separators; what turns the direction of text; lone surrogates, which are no UTF-8.
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def event(name: str, *, level: Level = "info", exc: BaseException | None = None, **fields: Any) -> None:
    """Write one line; nothing as long as ``configure`` was not called.

    Args:
        name: what happened, a word or two of the vocabulary: ``poll``, ``delivery attempt``.
        level: how bad it is.
        exc: the exception behind it. One of ours gives its reason and message; of a foreign one the class and the
            places it came through are logged, and not its message, which may quote a customer's data.
        fields: ids, counts, durations with their unit in the name. Values of fields named after secrets and personal
            data are hidden all the same.
    """
    if exc is not None:
        fields["error_class"] = type(exc).__name__
    if isinstance(exc, RelayError):
        fields = {"reason": exc.reason, "message": exc.message, **fields}
    elif exc is not None:
        fields["at"] = [
            f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_tb(exc.__traceback__)[-_FRAMES:]
        ]
    if configured():
        getattr(_bound(), level)(name, **fields)


@contextlib.contextmanager
def about(**fields: Any) -> Iterator[None]:
    """Add fields to every line that is written inside, by this task and those it starts: an id that joins them."""
    with structlog.contextvars.bound_contextvars(**fields):
        yield


def configure(log_format: LogFormat | None, *, stream: TextIO | None = None, **always: Any) -> None:
    """Set up the process' log; called once, by the command.

    Args:
        log_format: None for ``console`` on a terminal and ``json`` elsewhere. JSON is for machines and holds every
            line; a console, for people, leaves out ``debug``: looks that found nothing, attempts that went well.
        stream: where to; stderr unless given.
        always: fields of every JSON line of this process, as ``role="worker"``; on a console they would be noise.
    """
    stream = stream or sys.stderr
    readable = chosen_format(log_format, stream=stream) == "console"
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=stream.isatty(), pad_event_to=24)
        if readable
        else structlog.processors.JSONRenderer(serializer=_as_json)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _clean,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO if readable else logging.DEBUG),
        logger_factory=Writer(stream),
        cache_logger_on_first_use=False,
    )
    _bound.cache_clear()
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**({} if readable else always))
    logging.basicConfig(level=logging.WARNING, handlers=[_FromLibraries()], force=True)
    logging.captureWarnings(capture=True)


def pass_on(process: str, line: str) -> None:
    """Write a line that a process of ours wrote to its stderr: JSON as it is, other text with the name before it."""
    config = structlog.get_config()
    writer = config["logger_factory"]
    readable = not isinstance(config["processors"][-1], structlog.processors.JSONRenderer)
    if isinstance(writer, Writer) and (readable or line.startswith("{")):
        writer.msg(f"{process:<18} {line}" if readable else line)
    else:
        event("output", process=process, line=line)


def flush(timeout_s: float = 1.0) -> None:
    """Wait until what was logged is written, or until it is clear that nobody reads."""
    writer = structlog.get_config()["logger_factory"]
    if isinstance(writer, Writer):
        writer.flush(timeout_s)


def configured() -> bool:
    """Say whether this process has a log."""
    return structlog.is_configured()


def chosen_format(log_format: LogFormat | None, *, stream: TextIO | None = None) -> LogFormat:
    """Decide the form of lines: the one that was asked for, else ``console`` on a terminal and ``json`` elsewhere."""
    return log_format or ("console" if (stream or sys.stderr).isatty() else "json")


@functools.cache
def _bound() -> Any:
    """The logger; made once for each configuration, as making it costs more than a line."""
    return structlog.get_logger().bind()


class Writer:
    """Writes lines to a stream from a thread of its own, so that a full pipe stops nobody but the log.

    It is its own logger factory: ``structlog`` calls it for a logger, and the logger's methods with a line.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: collections.deque[str] = collections.deque()
        self._dropped = 0
        self._ready = threading.Condition()
        self._writing = False
        threading.Thread(target=self._write_all, name="log", daemon=True).start()
        atexit.register(self.flush)

    def __call__(self, *_args: Any) -> Self:
        """Be the logger."""
        return self

    def msg(self, line: str) -> None:
        """Take one line; never waits."""
        with self._ready:
            if len(self._lines) >= LINES_HELD:
                self._dropped += 1
            else:
                self._lines.append(line)
            self._ready.notify_all()

    debug = info = warning = error = msg

    def flush(self, timeout_s: float = 1.0) -> None:
        """Wait until all is written, at most that long."""
        with self._ready:
            self._ready.wait_for(lambda: not self._lines and not self._writing, timeout=timeout_s)

    def _write_all(self) -> None:
        while True:
            with self._ready:
                self._writing = False
                self._ready.notify_all()
                self._ready.wait_for(lambda: self._lines)
                lines = [*self._lines]
                self._lines.clear()
                dropped, self._dropped = self._dropped, 0
                self._writing = True
            if dropped:
                lines.append(_as_json({"event": "log lines dropped", "level": "warning", "count": dropped}))
            try:
                self._write(lines)
            except (OSError, ValueError):  # the reader is gone, or the stream closed: there is nowhere left to say so
                return

    def _write(self, lines: Sequence[str]) -> None:
        """Write; wait for a reader with empty hands, as who waits within a stream has its lock, and nobody ends."""
        try:
            descriptor = self._stream.fileno()
        except OSError:  # it is none of the system's
            self._stream.write("\n".join(lines) + "\n")
            self._stream.flush()
            return
        room = select.poll()
        room.register(descriptor, select.POLLOUT)
        for piece in _pieces(f"{line}\n".encode(errors="backslashreplace") for line in lines):
            left = piece
            while left:
                room.poll()
                left = left[os.write(descriptor, left) :]


def _pieces(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Put lines together, as many as a pipe that has room takes at once."""
    piece = b""
    for line in lines:
        if piece and len(piece) + len(line) > select.PIPE_BUF:
            yield piece
            piece = b""
        piece += line
        while len(piece) > select.PIPE_BUF:
            yield piece[: select.PIPE_BUF]
            piece = piece[select.PIPE_BUF :]
    if piece:
        yield piece


class _FromLibraries(logging.Handler):
    """What libraries log, as a line like the others: its first line, as asyncio puts whole objects into the rest."""

    def emit(self, record: logging.LogRecord) -> None:
        level: Level = "error" if record.levelno >= logging.ERROR else "warning"
        exc = record.exc_info[1] if record.exc_info else None
        event("library log", level=level, exc=exc, logger=record.name, message=record.getMessage().partition("\n")[0])


def _clean(_logger: Any, _method: str, fields: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {
        # Nearly all values are numbers, None and short texts: decided here, as an attempt's line has a dozen.
        _key(key): value
        if value is None or type(value) is int or (type(value) is str and _is_plain(value) and not _is_sensitive(key))
        else _clean_value(key, value, 0)
        for key, value in fields.items()
    }


def _clean_value(key: str, value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if _is_sensitive(key):
        return _HIDDEN
    return printable(value) if isinstance(value, str) else _clean_inside(key, value, depth)


def _clean_inside(key: str, value: Any, depth: int) -> Any:
    if depth >= _DEEPEST:
        return "…"
    if isinstance(value, Mapping):
        return {_key(str(name)): _clean_value(str(name), inner, depth + 1) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean_value(key, inner, depth + 1) for inner in value]
    return printable(str(value))


@functools.lru_cache(maxsize=1_000)
def _is_sensitive(key: str) -> bool:
    return bool(_SENSITIVE.search(key)) and not _HARMLESS.search(key)


@functools.lru_cache(maxsize=1_000)
def _key(name: str) -> str:
    return printable(name)


def _is_plain(text: str) -> bool:
    """Whether a text has nothing that ``printable`` would change: nearly all have not, and this takes a tenth of it."""
    return len(text) <= _SHORT and text.isascii() and text.isprintable() and not _SUSPECT.search(text)


def printable(text: str) -> str:
    """Make a text harmless to print: one line, no escape sequences, no turned direction, no secret, not endless."""
    if _is_plain(text):
        return text
    shown = _IN_TEXT.sub("***", text[:_LONGEST_TEXT])
    if len(text) > _LONGEST_TEXT:
        shown += "…"
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], shown)


def _as_json(fields: Any, **_options: Any) -> str:
    return orjson.dumps(fields, default=str).decode()
