"""The `finetune` command: runs the same FineTuneJob on this machine that the controller runs on a cluster.

Imports no torch, ray or kubernetes, so that mistakes in the job file are reported at once; the trainer is started as a program
of its own. Tests: tests/finetune/cli/.
"""


def main() -> int:
    """Run the command and return its exit code, which `finetune --help` lists."""
    # Imported here because the supervisor is a module of this package too and should stay small, and one after the other,
    # because modules where the user is would be taken for those that the command needs.
    from finetune.system.interpreter import finish_printing, forget_current_folder, print_in_any_locale, use_utf8

    use_utf8()
    forget_current_folder()
    print_in_any_locale()
    from finetune.cli.command import run_command

    try:
        return run_command()
    finally:
        finish_printing()
