"""Varies training texts with synonyms, word dropout, swaps and typos. Imports no torch. Tests: tests/trainer/augmentation/."""
