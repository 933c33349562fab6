"""A program that does nothing until its raylet is gone: the agent that a raylet wants, where nobody looks at a dashboard.

Started by its path with the standard library alone. Test: tests/trainer/driver/test_raynode.py.
"""

import os
import time

LOOK_SECONDS = 1.0


def main() -> None:
    """Wait for the end of the raylet, which starts this and says its pid: it may be gone before this program looks who its parent is."""
    raylet = int(os.environ["RAY_RAYLET_PID"])
    while os.getppid() == raylet:
        time.sleep(LOOK_SECONDS)


if __name__ == "__main__":
    main()
