"""Runs a job on this machine: starts the trainer as a program, follows it and shows how it goes."""
