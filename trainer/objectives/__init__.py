"""What a model is trained for: loss sums over the tokens that have loss."""
