"""The training loop with its batches and learning rate. Knows neither Ray nor files. Tests: tests/trainer/training/."""
