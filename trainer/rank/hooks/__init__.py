"""What happens after a step, one file each. Every rank calls the hooks in the same order; rank 0 alone writes."""
