"""The model of a run: found, checked, loaded, given its adapters, and exported.

`locate` and everything it needs import neither torch nor transformers, so that a wrong model is reported within seconds.
Tests: tests/trainer/model/.
"""
