"""The model of a run: found, checked, loaded, given its adapters, and written out again.

`locate` and everything it needs import neither torch nor transformers, so that a wrong model is told within seconds; the
rest is imported when it is first asked for. Tests: tests/trainer/model/.
"""
