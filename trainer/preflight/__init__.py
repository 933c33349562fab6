"""All checks before weights are loaded: rows, tokens, model limits, and a rehearsal of the model. Tests: tests/trainer/preflight/."""
