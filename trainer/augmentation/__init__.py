"""Varies training texts: synonyms, dropout, swaps, typing errors."""
