"""`python -m trainer --config FILE [--check]`: the program that a Ray job or `finetune run` starts.

stdout is for the user's eyes, logs go to stderr; exit codes are trainer.config.record's EXIT_*.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from trainer.config.record import EXIT_INPUT, EXIT_SUCCESS
from trainer.config.train import TrainConfig


def main(arguments: Sequence[str] | None = None) -> int:
    """Run or check the configuration in a file; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m trainer", description="Fine-tune one model as one attempt of a job.")
    parser.add_argument("--config", type=Path, required=True, help="TrainConfig as JSON")
    parser.add_argument("--check", action="store_true", help="check data, model and tokenizer; start nothing, write nothing")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        config = TrainConfig.model_validate_json(options.config.read_text())
    except (OSError, ValidationError) as error:
        print(f"{options.config}: {error}", file=sys.stderr)
        return EXIT_INPUT
    if options.check:
        return check(config)
    from trainer.launch import run

    return run(config)


def check(config: TrainConfig) -> int:
    """Tell what a run would find; exit code as a run's. What is wrong goes into a last progress record, as a run's does."""
    from trainer.launch import end_of, inspect
    from trainer.progress import ProgressReporter, open_sink

    ending = end_of(lambda: inspect(config))
    if ending.exit_code != EXIT_SUCCESS:
        ProgressReporter(config, open_sink(config.progress)).finish(outcome=ending.outcome)
    return ending.exit_code


if __name__ == "__main__":
    sys.exit(main())
