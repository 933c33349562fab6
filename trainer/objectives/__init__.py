"""What training minimizes: how samples become a batch, and the loss of a batch. One file per objective.

May import torch and `trainer.data.rows`, but neither engines nor tasks. Tests: tests/trainer/objectives/.
"""
