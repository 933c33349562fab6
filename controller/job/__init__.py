"""What a FineTuneJob means: observe what is there, plan what to do, do it, report it.

`plan` and everything that it uses are pure; `observe` and `reconciler` alone talk to the API.
"""
