"""What is minimized: how samples become a batch, and what the loss of a batch is. One file an objective.

May touch torch and `trainer.data.rows`; knows neither engines nor tasks. Tests: tests/trainer/objectives/.
"""
