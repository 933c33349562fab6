"""What a run keeps in its output folder: checkpoints, and whose they are."""
