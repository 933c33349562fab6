"""The `finetune` command: runs the same FineTuneJob on this machine that the controller runs on a cluster.

Imports no torch, ray or kubernetes, so that mistakes in the job file are told at once; the trainer is started as a program
of its own. Tests: tests/controller/cli/.
"""


def main() -> int:
    """Run the command and return its exit code: 0 good, 2 the user's input is at fault, 1 anything else."""
    # Imported here because the supervisor is a module of this package too and should stay small.
    from controller.cli.command import run_command

    return run_command()
