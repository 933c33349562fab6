"""What a user touches: the resource (`api`), the command (`cli`), and what all programs share of Python and its files (`system`)."""
