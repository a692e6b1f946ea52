"""A receiver of clopos-relay's webhooks. Python's standard library only; put your own work into `handle`.

    WEBHOOK_SECRET=whsec_… python receiver.py

Several secrets, separated by spaces, all count. With RELAY_URL, RELAY_TOKEN and SUBSCRIPTION set, what was missed is
pulled. A subscription with signature v1a has a public key, whpk_…, instead of the secret: `pip install cryptography`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import tempfile
import threading
import time
import traceback
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PORT = int(os.environ.get("PORT", "9000"))
KEYS = os.environ.get("WEBHOOK_SECRET", "").split()
if not KEYS or not all(re.fullmatch(r"whsec_[\w+/=]{32,}|whpk_[\w+/=]{43,}", key) for key in KEYS):
    raise SystemExit("set WEBHOOK_SECRET to the subscription's secret (whsec_…), or to its public key (whpk_…)")
PULL_FROM = (
    "{RELAY_URL}/v1/subscriptions/{SUBSCRIPTION}/events".format_map(os.environ) if "RELAY_TOKEN" in os.environ else None
)
PULL_EVERY_S = 300
FORGET_AFTER_S = 30 * 86_400  # longer than the relay keeps events: it sends none again after that
TOLERANCE_S = 300
LARGEST_BYTES = 16 * 1024 * 1024

FOLDER = Path(os.environ.get("FOLDER", "webhooks"))
WAITING, DONE, STATE = FOLDER / "waiting", FOLDER / "done", FOLDER / "state.json"
for folder in (WAITING, DONE):
    folder.mkdir(parents=True, exist_ok=True)
state: dict[str, Any] = json.loads(STATE.read_text()) if STATE.exists() else {"sequences": {}, "cursor": None}
something_waits = threading.Event()


def handle(event: dict[str, Any]) -> None:
    """Do what is yours to do. Must do no harm when it runs twice: a crash may come between it and its note."""
    print("took", event["type"], event["id"], flush=True)


# ---- is it the relay's? ----


def why_refused(headers: Any, body: bytes) -> str | None:
    """Say why a request does not count; None if it was signed with one of our keys, lately."""
    webhook_id, timestamp, signatures = (
        headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature")
    )
    if not re.fullmatch(r"\w{1,100}", webhook_id, re.ASCII) or not re.fullmatch(r"[0-9]{1,12}", timestamp):
        return "headers"
    if abs(time.time() - int(timestamp)) > TOLERANCE_S:
        return "timestamp"
    content = f"{webhook_id}.{timestamp}.".encode() + body
    for signature in signatures.split():  # while a secret is rotated there are two
        version, _, encoded = signature.partition(",")
        try:
            given = base64.b64decode(encoded, validate=True)
        except ValueError:
            continue
        if any(signed(key, version, given, content) for key in KEYS):
            return None
    return "signature: is WEBHOOK_SECRET this subscription's?"


def signed(key: str, version: str, given: bytes, content: bytes) -> bool:
    """Say whether this signature is this key's."""
    kind, _, encoded = key.partition("_")
    raw = base64.b64decode(encoded)
    if (kind, version) == ("whsec", "v1") and len(raw) >= 24:
        return hmac.compare_digest(hmac.digest(raw, content, hashlib.sha256), given)
    if (kind, version) == ("whpk", "v1a"):
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(raw).verify(given, content)
        except InvalidSignature:
            return False
        return True
    return False


# ---- keep it before you answer: two folders stand in for a table with a unique column ----


def keep(webhook_id: str, body: bytes) -> bool:
    """Put an event on the disk; False if it came before (and if two come at one instant, its sequence tells)."""
    if (DONE / webhook_id).exists():
        return False
    handle_, name = tempfile.mkstemp(dir=FOLDER)
    with os.fdopen(handle_, "wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(name, WAITING / webhook_id)  # fails where it exists: of two requests at once, one is first
    except FileExistsError:
        return False
    finally:
        Path(name).unlink()
    return True


class Receiver(BaseHTTPRequestHandler):
    """Verifies, keeps, answers; the work is done elsewhere, so that the relay never waits for it."""

    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_POST(self) -> None:
        """Take one webhook."""
        length = int(self.headers.get("content-length", 0))
        if length > LARGEST_BYTES:
            self.close_connection = True
            self.answer(413)
            return
        body = self.rfile.read(length)
        refused = why_refused(self.headers, body)
        if refused is not None:
            print("refused", refused, flush=True)
            self.answer(401)
            return
        webhook_id = self.headers["webhook-id"]
        is_new = keep(webhook_id, body)  # a full disk raises: no answer, and the relay comes again
        self.answer(204)
        if is_new:
            something_waits.set()
        else:
            print("again", webhook_id, flush=True)

    def answer(self, status: int) -> None:
        """Answer without a body."""
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing: customers' data have no place in logs."""


# ---- take what waits, each subject's events in order ----


def work() -> None:
    """Take everything that waits. Where an event is missing before one, pull first, once."""
    may_pull = PULL_FROM is not None
    while waiting := sorted((json.loads(path.read_bytes()) for path in WAITING.iterdir()), key=lambda e: e["sequence"]):
        for event in waiting:
            subject = f"{event['brand']}/{event['venue_id']}/{event['subject']}"
            last = state["sequences"].get(subject)
            is_newer = last is None or event["sequence"] > last
            if is_newer and last is not None and event["previous_sequence"] != last:
                print("gap before", event["id"], flush=True)
                if may_pull:
                    may_pull = False
                    pull()
                    break  # and begin again, with what came
            if is_newer:
                handle(event)
                state["sequences"][subject] = event["sequence"]
                save()
            else:
                print("older", event["type"], event["id"], flush=True)  # you have a later state of it already
            (WAITING / event["id"]).rename(DONE / event["id"])


def pull() -> None:
    """Fetch what the relay has for this subscription since the last time; what came by push is dropped by its id."""
    while PULL_FROM is not None:
        cursor = f"&cursor={state['cursor']}" if state["cursor"] else ""
        request = urllib.request.Request(f"{PULL_FROM}?limit=200{cursor}")
        request.add_header("authorization", f"Bearer {os.environ['RELAY_TOKEN']}")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                page = json.load(answer)
        except OSError as error:  # urllib's errors are, too
            if isinstance(error, urllib.error.HTTPError) and error.code == 400 and cursor:
                state["cursor"] = None  # older than what the relay keeps: from the start of that
                continue
            print("cannot pull:", error, flush=True)
            return
        for event in page["data"]:
            if keep(event["id"], json.dumps(event).encode()):
                print("pulled", event["id"], flush=True)
        state["cursor"] = page["next_cursor"]
        save()
        if not page["data"]:
            return


def save() -> None:
    """Note how far we are: whole or not at all."""
    new = STATE.with_suffix(".new")
    new.write_text(json.dumps(state))
    new.replace(STATE)


def forget() -> None:
    """Let go of events that cannot come again."""
    for path in DONE.iterdir():
        if time.time() - path.stat().st_mtime > FORGET_AFTER_S:
            path.unlink()


def keep_working() -> None:
    """Pull what was missed while we were down; then take what comes, and look now and then for what never did."""
    is_quiet = True
    while True:
        try:
            if is_quiet:
                pull()
                forget()
            something_waits.clear()
            work()
        except Exception:
            traceback.print_exc()  # it still waits, and is tried again
        is_quiet = not something_waits.wait(PULL_EVERY_S)


if __name__ == "__main__":
    threading.Thread(target=keep_working, daemon=True).start()
    server = ThreadingHTTPServer(("127.0.0.1", PORT), Receiver)
    print("listening on", server.server_port, flush=True)
    server.serve_forever()
