"""The training loop, its batches and its learning rate."""
