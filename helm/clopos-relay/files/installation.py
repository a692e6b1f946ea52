"""Does this installation work? Asks the API from inside the cluster, as `helm test` does; needs the standard library only."""

import json
import os
import pathlib
import re
import sys
import time
import urllib.error
import urllib.request

URL = os.environ["RELAY_URL"]
QUEUES = ("poll", "deliver", "maintain")


def secret(name):
    """The content of the file that a NAME_FILE variable names, "" without one."""
    path = os.environ.get(name + "_FILE")
    return pathlib.Path(path).read_text(encoding="utf-8").strip() if path else ""


def get(path, token=""):
    """The body of a 200."""
    request = urllib.request.Request(URL + path)
    if token:
        request.add_header("Authorization", "Bearer " + token)
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.read().decode()


def faults():
    """What does not work, a sentence each."""
    found = []
    for path, token, means in (
        ("/livez", "", "the API does not run"),
        ("/readyz", "", "the API cannot use Redis"),
        ("/v1/brands?limit=1", secret("RELAY_TOKEN"), "the API does not take the admin token of the Secret"),
    ):
        try:
            get(path, token)
        except (OSError, ValueError) as wrong:
            return [f"{means}: GET {path}: {wrong}"]
    try:
        metrics = get("/metrics", secret("RELAY_METRICS_TOKEN"))
    except (OSError, ValueError) as wrong:
        return [f"no metrics: GET /metrics: {wrong}"]
    for queue in QUEUES:
        alive = re.search(r'^relay_workers\{[^}]*queue="%s"[^}]*\} ([0-9.e+]+)$' % queue, metrics, re.MULTILINE)
        if not alive or float(alive[1]) < 1:
            found.append(f"no worker serves the queue {queue}")
    return found


def main():
    """Ask until all is well or the time is up."""
    deadline = time.monotonic() + float(os.environ.get("PATIENCE_S", "120"))
    while True:
        found = faults()
        if not found:
            print(json.dumps({"ok": True, "url": URL}))
            return 0
        if time.monotonic() > deadline:
            print("\n".join(found), file=sys.stderr)
            return 1
        time.sleep(2)


sys.exit(main())
