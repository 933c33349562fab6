"""Evaluation of a model on held-out rows: the evaluator runs it, predictors answer requests, metrics compute figures.

sacrebleu and jiwer are imported on first use. Tests: tests/trainer/evaluation/.
"""
