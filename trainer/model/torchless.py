"""Lets a program without torch load a tokenizer without it: a driver that does not train needs torch for nothing, and it costs seconds
and half a gigabyte.

transformers offers tokenizers and configurations on machines that have no torch. Here it is told that this is one.
Test: tests/trainer/model/test_torchless.py.
"""

import os
import sys
import threading

from trainer.model.quickimport import keep_what_transformers_lists, without_torch

ADVICE = "TRANSFORMERS_NO_ADVISORY_WARNINGS"
_importing = threading.Lock()


def import_transformers() -> None:
    """Import transformers; where torch is not imported, as if it were not installed.

    A program that trains afterwards has to call `import_torch_beside` before.
    """
    with _importing:
        if "torch" in sys.modules or "transformers" in sys.modules:
            return
        given = os.environ.get(ADVICE)
        os.environ[ADVICE] = "1"  # else it advises to install torch
        try:
            with without_torch():
                import transformers  # noqa: F401
        finally:
            del os.environ[ADVICE]
            if given is not None:
                os.environ[ADVICE] = given


def import_torch_beside() -> None:
    """Import torch, and transformers with it, in a thread; whoever asks for transformers meanwhile waits for both."""
    begun = threading.Event()

    def work() -> None:
        with _importing:
            begun.set()
            keep_what_transformers_lists()
            import torch  # noqa: F401
            import transformers  # noqa: F401

    threading.Thread(target=work, name="import of torch", daemon=True).start()
    begun.wait()
