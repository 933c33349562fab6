"""The driver: starts Ray, publishes progress, says how the run ended, answers SIGTERM."""
