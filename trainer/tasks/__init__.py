"""What a model can be trained to do: one file per task, and a row in `finetune.api.tasks`; registry.py finds the file by name.

base.py is the interface that the rest of the trainer uses. A task's larger machinery has its own package (trainer.chat,
trainer.text), so that the task's file reads as a list of decisions. Tests: tests/trainer/tasks/, where the conformance
suite runs over every task of the registry.
"""
