"""The `finetune` command: runs the same FineTuneJob on this machine that the controller runs on a cluster.

Imports no torch, ray or kubernetes, so that mistakes in the job file are told at once; the trainer is started as a program
of its own. Tests: tests/controller/cli/.
"""

import importlib.util
import sys
from pathlib import Path


def main() -> int:
    """Run the command and return its exit code, as `finetune --help` tells them."""
    _take_our_trainer()
    # Imported here because the supervisor is a module of this package too and should stay small, and one after the other,
    # because modules where the user is would be taken for those that the command needs.
    from trainer.config.interpreter import finish_printing, forget_current_folder, print_in_any_locale, use_utf8

    use_utf8()
    forget_current_folder()
    print_in_any_locale()
    from controller.cli.command import run_command

    try:
        return run_command()
    finally:
        finish_printing()


def _take_our_trainer() -> None:
    """Let `trainer` be our package, also where a `trainer.py` of the user's lies in a folder of PYTHONPATH."""
    folder = Path(__file__).parents[2] / "trainer"
    spec = importlib.util.spec_from_file_location("trainer", folder / "__init__.py", submodule_search_locations=[str(folder)])
    if "trainer" in sys.modules or spec is None or spec.loader is None:
        return
    sys.modules["trainer"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["trainer"])
