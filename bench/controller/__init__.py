"""`make bench-controller`: what the controller costs and how fast it is with thousands of jobs, beside KubeRay's own operator."""
