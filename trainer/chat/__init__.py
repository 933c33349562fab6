"""Conversations: how they are read from rows, written by a chat template, tokenized, and which of their tokens have loss.

The machinery of the chat task, apart from `trainer.tasks`, which has one file a task. Stands on `trainer.text` and on the rows and
records of `trainer.data`. Tests: tests/trainer/chat/.
"""
