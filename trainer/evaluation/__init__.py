"""How good a model is on held-out rows: the evaluator measures, predictors answer, metrics compute figures.

sacrebleu and jiwer are imported when they are first needed. Tests: tests/trainer/evaluation/.
"""
