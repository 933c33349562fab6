"""What all tests share: the real Kubernetes and what lies outside the repository, on request, and Ctrl-C as a terminal sends it."""

import os
import signal
from collections.abc import Iterator

import pytest

from finetune.system.threads import THREADS_ENVIRONMENT

pytest_plugins = ["tests.cluster.fixtures", "tests.outside", "tests.sharing"]

# Tests run beside each other: torch's threads, here and in what is started, are not to spin while they wait.
for name, value in THREADS_ENVIRONMENT.items():
    os.environ.setdefault(name, value)

# Tests compute little, and several at a time: threads of torch would spend more time waiting for each other than computing.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell lets programs in the background ignore SIGINT, and their children inherit that: Ctrl-C would stop none of what is tested.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _signals_reach_what_later_tests_start() -> Iterator[None]:
    """Blocked and ignored signals are inherited: a test that leaves any makes another fail that stops a program."""
    before = undelivered()
    yield
    assert undelivered() == before, "the test left signals blocked or ignored"


def undelivered() -> set[int]:
    """Return the signals that this thread blocks or ignores."""
    ends = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
    return signal.pthread_sigmask(signal.SIG_BLOCK, ()) | {number for number in ends if signal.getsignal(number) is signal.SIG_IGN}
