"""How the threads of a computation wait for each other: the same on a laptop, in a pod and in the tests.

Tests: tests/trainer/driver/test_here.py, tests/controller/job/objects/test_pods.py.
"""

THREADS_ENVIRONMENT = {"GOMP_SPINCOUNT": "1000"}
"""For libgomp, before torch loads it. By default a thread that waits for the others spins for milliseconds, after every operation: on a
busy machine it takes the processor from the very thread that it waits for. After 1,000 turns, some 20 microseconds, it sleeps."""
