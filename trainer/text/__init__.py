"""Text to tokens, for every task: encoding, control-token names that are only text, and long texts that become several samples.

Imports only the rows of `trainer.data`. Tests: tests/trainer/text/.
"""
