"""Text to tokens, for every task: encoding, control tokens that are only text, and long texts that become several samples.

Stands on the rows of `trainer.data` alone. Tests: tests/trainer/text/.
"""
