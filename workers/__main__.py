"""A worker's process, started by `workers.worker.run` and by nobody else."""

import signal
import sys

# Ctrl-C, and the end of the terminal, are for the parent; also while the rest is imported.
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGHUP, signal.SIG_IGN)

from workers.process import main  # noqa: E402
from workers.shifts import shifts  # noqa: E402

sys.exit(main(shifts))
