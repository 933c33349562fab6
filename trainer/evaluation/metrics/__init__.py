"""The metrics, one file per family; registry.py finds them. Tests: tests/trainer/evaluation/metrics/."""
