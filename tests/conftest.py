"""What all tests share: the real Kubernetes and what lies outside the repository, on request, and Ctrl-C as a terminal sends it."""

import signal

pytest_plugins = ["tests.cluster.fixtures", "tests.outside", "tests.sharing"]

# A shell lets programs in the background ignore SIGINT, and their children inherit that: Ctrl-C would stop none of what is tested.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
