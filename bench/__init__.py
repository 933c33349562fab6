"""Measures the product beside what a user would otherwise take; run by `make bench`."""
