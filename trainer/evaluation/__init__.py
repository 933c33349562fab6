"""How good a model is: perplexity, answers and text metrics, and the report that sets the tuned model beside the base.

torch, sacrebleu and jiwer are imported when they are first needed. Tests: tests/trainer/evaluation/.
"""
