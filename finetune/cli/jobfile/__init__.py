"""Reads a job file as kubectl and the API server would, and says what is wrong with it."""
