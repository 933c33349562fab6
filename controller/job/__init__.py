"""Reconciles a FineTuneJob: observe what exists, plan what to do, do it, report it.

`plan` and everything it uses are pure; only `observe`, `actions`, `retries` and `reconciler` talk to the API.
"""
