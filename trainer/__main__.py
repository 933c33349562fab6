"""`python -m trainer --config FILE [--check]`: the program that a Ray job or `finetune run` starts.

stdout is for the user's eyes, logs go to stderr; exit codes are finetune.api.record's EXIT_*.
"""

import argparse
import contextlib
import faulthandler
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from finetune.api.record import EXIT_INPUT
from finetune.api.trainconfig import TrainConfig
from finetune.system.hubaccess import close_but_for_fetching
from finetune.system.interpreter import forget_current_folder, print_in_any_locale, use_utf8
from finetune.system.scratch import remove_all


def main(arguments: Sequence[str] | None = None) -> int:
    """Run or check the configuration in a file; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m trainer", description="Fine-tune one model as one attempt of a job.")
    parser.add_argument("--config", type=Path, required=True, help="TrainConfig as JSON")
    parser.add_argument("--check", action="store_true", help="check data, model and tokenizer; start nothing, write nothing")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        config = TrainConfig.model_validate_json(options.config.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        print(f"{options.config}: {error}", file=sys.stderr)
        return EXIT_INPUT
    from trainer.driver.attempt import check, run

    end = check(config) if options.check else run(config)
    if end.unfinished:
        abandon(end.exit_code)
    return end.exit_code


def abandon(exit_code: int) -> None:
    """Leave at once, with everything that this program started and that may be in the middle of something."""
    import psutil

    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            process.kill()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    remove_all()
    os._exit(exit_code)


if __name__ == "__main__":
    faulthandler.enable(all_threads=False)  # where a crash below Python happened goes to the log
    use_utf8()
    close_but_for_fetching()  # after use_utf8, which starts the program again with its environment
    forget_current_folder()
    print_in_any_locale()
    sys.exit(main())
