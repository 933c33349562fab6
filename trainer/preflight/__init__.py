"""All that is known before a weight is loaded: rows, tokens, limits, and a rehearsal of the model."""
