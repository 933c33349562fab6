"""`python -m bench.controller`, which `make bench-controller` runs."""

import sys

from bench.controller.program import main

if __name__ == "__main__":
    sys.exit(main())
