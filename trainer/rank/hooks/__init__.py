"""What happens after a step, one hook per file. Every rank calls the hooks in the same order; only rank 0 writes."""
