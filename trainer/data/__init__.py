"""From the user's files to rows of tokens: read, check, deduplicate, split, tokenize, sample, augment, examine.

Needs no torch, and imports transformers, datasets and pyarrow only where a source needs them, so that a fault in local
input is told within seconds. Tests: tests/trainer/data/.
"""
