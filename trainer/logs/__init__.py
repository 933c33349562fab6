"""Logs that outlive pods: what driver and ranks write is copied to the output while they write it, by programs of their own."""
