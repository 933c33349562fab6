"""What a user would otherwise take, each trained on the product's rows with the product's settings.

Started as `python -m bench.references NAME …` by bench.runs. They use nothing of the product's engine, loop, adapters or
packing. Test: tests/bench/test_references.py.
"""
