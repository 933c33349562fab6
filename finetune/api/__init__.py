"""The contract between controller and trainer: what a run is told (TrainConfig) and what it answers (ProgressRecord).

Needs pydantic and nothing else, so that the controller can import it without torch. Tests: tests/finetune/api/,
tests/contract/.
"""
