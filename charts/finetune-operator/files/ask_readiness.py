"""`helm test`: ask the controller whether it is ready, and say what it lacks.

Usage: ask_readiness.py URL SECONDS. Runs in the controller's image. Test: tests/packaging/test_helm_test.py.
"""

import sys
import time
import urllib.error
import urllib.request

url, seconds = sys.argv[1], float(sys.argv[2])
# The controller is in this cluster: a proxy must not see the request.
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
deadline = time.monotonic() + seconds
while True:
    try:
        with opener.open(url, timeout=5) as response:
            print(f"the controller is ready: {response.read().decode().strip()}")
            sys.exit(0)
    except urllib.error.HTTPError as error:
        problem = f"the controller is not ready: {error.read().decode(errors='replace').strip()}"
    except OSError as error:
        problem = f"the controller does not answer at {url}: {error}; look at its pod with kubectl describe and kubectl logs"
    if time.monotonic() > deadline:
        sys.exit(problem)
    time.sleep(1)
