"""`python -m trainer.using COMMAND REQUEST`: uses a model, as one of the requests of finetune/api/using.py (JSON) says.

The `finetune` command starts it. torch is imported in a thread, so that a name that leads nowhere is reported at once.
Tests: tests/trainer/using/test_main.py.
"""

import contextlib
import gc
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from finetune.system.interpreter import forget_current_folder, print_in_any_locale, use_utf8
from finetune.system.threads import THREADS_ENVIRONMENT

Say = Callable[[str], None]


class TerminatedError(BaseException):
    """SIGTERM: it ends the program, also where Ctrl-C only ends what is being typed."""


def main(arguments: Sequence[str]) -> int:
    """Do what the command and its request (JSON) say; return the exit code."""
    from finetune.api.errors import InputError, RunError
    from finetune.api.record import EXIT_FAILURE, EXIT_INPUT, EXIT_INTERRUPTED, EXIT_SUCCESS

    command, request = arguments
    try:
        COMMANDS[command](request)
    except InputError as error:
        say(str(error))
        return EXIT_INPUT
    except (KeyboardInterrupt, TerminatedError):
        say("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # nobody reads on, as with `| head`
        return EXIT_SUCCESS
    except (RunError, OSError, RuntimeError) as error:  # such as a hub that does not answer, a full disk, and whatever torch raises
        say(f"failed: {error}")
        return EXIT_FAILURE
    return EXIT_SUCCESS


def say(line: str) -> None:
    """Tell the user something that is no answer."""
    print(line, file=sys.stderr, flush=True)


def _predict(request: str) -> None:
    from finetune.api.using import Predict
    from trainer.using.found import find

    wanted = Predict.model_validate_json(request)
    _begin_imports()
    found = find(wanted.model, base=wanted.base)
    from trainer.using.asking import check_paths

    check_paths(wanted)
    _end_imports()
    from trainer.using.loading import load
    from trainer.using.predict import predict

    loaded = load(found, wanted.model, say, base=wanted.base)
    _ready()
    predict(wanted, loaded, found, say)


def _chat(request: str) -> None:
    from finetune.api.using import Chat
    from trainer.using.found import find

    wanted = Chat.model_validate_json(request)
    _begin_imports()
    found = find(wanted.model, base=wanted.base)
    _end_imports()
    from trainer.using.chat import chat, check_task
    from trainer.using.loading import load

    loaded = load(found, wanted.model, say, base=wanted.base)
    check_task(loaded.task, wanted.model.field)
    _ready()
    say(f"talking to {'the base model' if wanted.base else found.said}")
    chat(wanted, loaded, say)


def _evaluate(request: str) -> None:
    from tempfile import TemporaryDirectory

    from finetune.api.using import Evaluate
    from finetune.system.scratch import run_folder
    from trainer.preflight.prepare import prepare
    from trainer.using.found import find

    wanted = Evaluate.model_validate_json(request)
    _begin_imports()
    found = find(wanted.model, base=wanted.base)
    with TemporaryDirectory(prefix="rows-", dir=run_folder()) as folder:
        dataset = prepare(wanted.job, Path(folder))
        for finding in dataset.findings:
            say(f"finding: {finding}")
        _end_imports()
        from trainer.using.evaluate import evaluate, rows_in_tokens, with_task
        from trainer.using.loading import load

        loaded = load(found, with_task(wanted, found, say), say, base=wanted.base, seed=wanted.job.training.seed)
        _ready()
        evaluate(wanted, loaded, found, rows_in_tokens(wanted, dataset, loaded, found, say), say)


def _compare(request: str) -> None:
    from finetune.api.using import Compare
    from trainer.using.compare import compare

    compare(Compare.model_validate_json(request))


COMMANDS: dict[str, Callable[[str], None]] = {"predict": _predict, "chat": _chat, "evaluate": _evaluate, "compare": _compare}


def _begin_imports() -> None:
    gc.disable()  # what is imported is never garbage, and looking for some takes a tenth of the time
    from trainer.model.torchless import import_torch_beside

    import_torch_beside()


def _end_imports() -> None:
    from trainer.model.torchless import import_transformers

    import_transformers()  # waits for the thread


def _ready() -> None:
    import transformers

    transformers.utils.logging.set_verbosity_error()
    gc.freeze()
    gc.enable()


def _terminated(*_: object) -> NoReturn:
    raise TerminatedError


if __name__ == "__main__":
    use_utf8()
    forget_current_folder()
    print_in_any_locale()
    signal.signal(signal.SIGTERM, _terminated)
    os.environ |= {name: os.environ.get(name, value) for name, value in THREADS_ENVIRONMENT.items()}
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # peft loads DeepSpeed, which would probe for others and print it
    code = main(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)  # to take torch apart takes a second
