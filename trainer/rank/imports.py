"""What a rank imports before it does anything, in the order that it needs. Several seconds, which pass while the input is checked.

Test: tests/trainer/rank/test_preload.py.
"""

import importlib

from trainer.model.quickimport import keep_what_transformers_lists
from trainer.rank.launch import collect_rarely


def import_for_rank(*, deepspeed: bool) -> None:
    """Import the libraries of a rank and its code. DeepSpeed looks for its GPU meanwhile, so the environment has to name it before."""
    collect_rarely()
    keep_what_transformers_lists()
    for name in (*(["deepspeed"] if deepspeed else []), "trainer.rank.assignment", "trainer.rank.run"):
        importlib.import_module(name)
