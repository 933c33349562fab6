"""From the user's files to checked rows: sources, formats, columns, duplicates, splits, the order in which rows are drawn.

What a row means is up to its task, which prepare.py and columns.py call. Needs no torch, and imports transformers, datasets and
pyarrow only where a source needs them, so that a fault in local input is reported within seconds. Tests: tests/trainer/data/.
"""
