"""What a model can learn to do: one file a task, and a row in `finetune.api.tasks` and in registry.py.

base.py is what the rest of the trainer knows of a task. A task's larger machinery has a room of its own (trainer.chat,
trainer.text), so that its file reads as a list of decisions. Tests: tests/trainer/tasks/, where the conformance
suite runs over every task of the registry.
"""
