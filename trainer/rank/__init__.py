"""One rank of a run, from loading the model to writing the results."""
