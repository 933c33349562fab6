"""Runs the rehearsal of a model in a process of its own, because torch takes seconds and half a gigabyte, which a driver does without.

Test: tests/trainer/preflight/test_rehearsing.py.
"""

import contextlib
import gc
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading

from finetune.api.errors import RunError
from finetune.api.trainconfig import TrainConfig
from finetune.system.interpreter import ROOT, lasting_python_path
from trainer.model.location import LocatedModel
from trainer.model.quickimport import keep_what_transformers_lists
from trainer.preflight.passed import Rehearsed
from trainer.preflight.unrehearsed import RehearsalError, RehearsalMemoryError, failure_of

COMMAND = (sys.executable, "-P", "-m", "trainer.preflight.rehearsing")
# No GPU and one accelerator that needs no probing: the model has shapes and no data.
ENVIRONMENT = {"PYTHONUTF8": "1", "CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
logger = logging.getLogger(__name__)


class RehearsalProgram:
    """A rehearsal in a process: begun early, since it first imports for seconds; asked once the model's folder is there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ended = False
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        """Start the process, unless `end` came first."""
        path = os.pathsep.join([str(ROOT), *lasting_python_path(os.environ)])
        with self._lock:
            if not self._ended:
                environment = os.environ | ENVIRONMENT | {"PYTHONPATH": path}
                self._process = subprocess.Popen(COMMAND, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def rehearse(self, located: LocatedModel, config: TrainConfig) -> Rehearsed:
        """Return what `rehearse` returns there; raises its InputError, and RehearsalError where it came to no verdict."""
        if self._process is None:
            raise RehearsalError("the rehearsal of the model was not begun")
        answer, _ = self._process.communicate(pickle.dumps((located, config.model_dump_json(by_alias=True))))
        code = self._process.returncode
        if code == -signal.SIGKILL and not self._ended:
            raise RehearsalMemoryError(f"the rehearsal of {located.name} was killed; the machine has probably run out of memory")
        if code:
            raise RehearsalError(f"the rehearsal of {located.name} ended with exit code {code}, without a verdict")
        verdict: Rehearsed | RunError = pickle.loads(answer)  # noqa: S301 - our own program pickled it
        if isinstance(verdict, RunError):
            raise verdict
        return verdict

    def end(self) -> None:
        """Kill the process if it is still working; called from another thread than `rehearse`."""
        with self._lock:
            self._ended = True
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """Kill the process, wait for it, and close its pipes, where `rehearse` has not done so."""
        self.end()
        if self._process is not None:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
            self._process.wait()


def main() -> None:
    """Read a pickled (LocatedModel, TrainConfig as JSON) from stdin; write what `rehearse` returns or a RunError, pickled."""
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints, also below Python, must not tear the answer
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    gc.disable()  # what is imported is never garbage, and looking for some takes a tenth of the time
    verdict = _verdict()
    if verdict is not None:
        answer.write(pickle.dumps(verdict))
        answer.flush()
    os._exit(0)  # to take torch apart at exit takes a second, and the driver waits


def _verdict() -> Rehearsed | RunError | None:
    """Answer the request that comes; None if none comes, because nobody needs it any more."""
    name = "the model"
    try:
        keep_what_transformers_lists()
        from trainer.preflight.rehearsal import rehearse  # before the request is read, which may come later

        request = sys.stdin.buffer.read()
        if not request:
            return None
        located, config = pickle.loads(request)  # noqa: S301 - the program that started this one pickled it
        name = located.name
        return rehearse(located, TrainConfig.model_validate_json(config))
    except RunError as error:
        return error
    except Exception as error:  # whatever it is, the driver has to say it
        logger.exception("the rehearsal of %s failed", name)
        return failure_of(error)(f"the rehearsal of {name} failed: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
