"""The contract between controller and trainer: what a run is given (TrainConfig) and what it reports (ProgressRecord).

Needs pydantic and nothing else, so that the controller can import it without torch. Tests: tests/finetune/api/,
tests/contract/.
"""
