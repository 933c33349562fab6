"""What all tests share: the real Kubernetes, started when a test asks for it."""

pytest_plugins = ["tests.cluster.fixtures"]
