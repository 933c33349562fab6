"""Importing this imports what a rank needs, into a process that a local Ray starts before Ray Train asks for workers.

Ray imports it by its name when such a process has come up; all that it does therefore happens on import.
Tests: tests/trainer/rank/test_preload.py, tests/trainer/driver/test_localgroup.py (real Ray).
"""

import importlib
import os

from finetune.system.hubaccess import close
from trainer.rank.launch import DEEPSPEED, PRELOAD_VARIABLE

RAY_TRAIN = "ray.train.v2._internal.execution.worker_group.worker"
"""Where the class of Ray Train's workers is."""

if os.environ.get(PRELOAD_VARIABLE):
    close()  # before the libraries are imported, which read it once
    # Libraries look for a GPU when they are imported; a rank that has one gets no such process.
    os.environ.update(CUDA_VISIBLE_DEVICES="", DS_ACCELERATOR="cpu")
    importlib.import_module(RAY_TRAIN)
    from trainer.rank.imports import import_for_rank

    import_for_rank(deepspeed=os.environ[PRELOAD_VARIABLE] == DEEPSPEED)
