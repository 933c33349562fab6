"""Ways of measuring, one file for each kind of evidence; registry.py finds them.

A file has MEASURED_BY: Mapping[Needs, Way]. A way asks the model about all held-out rows, on every rank alike, and returns the
evidence of all rows, in their order, and with it the figures; `measured_from` of trainer.evaluation.measurement makes both.
Tests: tests/trainer/evaluation/measuring/.
"""
