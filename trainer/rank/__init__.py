"""One rank of a run, from loading the model to writing the results: run.py has the steps in order. Tests: tests/trainer/rank/."""
