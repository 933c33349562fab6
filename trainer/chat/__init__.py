"""Conversations: how they are read from rows, written by a chat template, tokenized, and which of their tokens have loss.

The machinery of the chat task; the task itself is `trainer/tasks/chat.py`. Imports `trainer.text` and the rows and records of
`trainer.data`. Tests: tests/trainer/chat/.
"""
