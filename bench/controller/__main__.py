"""`python -m bench.controller`, which `make bench-controller` runs."""

import signal
import sys

from bench.controller.program import main

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the cluster ends too
    sys.exit(main())
