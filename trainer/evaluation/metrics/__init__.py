"""The metrics, one file a family; registry.py finds them. Tests: tests/trainer/evaluation/metrics/."""
