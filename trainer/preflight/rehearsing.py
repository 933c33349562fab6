"""Runs the rehearsal of a model in a process of its own, because torch takes seconds and half a gigabyte, which a driver does without.

Test: tests/trainer/preflight/test_rehearsing.py.
"""

import contextlib
import gc
import logging
import os
import pickle
import subprocess
import sys
import threading

from finetune.api.errors import InputError
from finetune.api.trainconfig import TrainConfig
from finetune.system.interpreter import ROOT, lasting_python_path
from trainer.model.location import LocatedModel
from trainer.model.quickimport import keep_what_transformers_lists
from trainer.preflight.passed import Rehearsed

COMMAND = (sys.executable, "-P", "-m", "trainer.preflight.rehearsing")
# No GPU and one accelerator that needs no probing: the model has shapes and no data.
ENVIRONMENT = {"PYTHONUTF8": "1", "CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


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
        """Return what `rehearse` returns there; raises its InputError, and RuntimeError where it came to no verdict."""
        if self._process is None:
            raise RuntimeError("the rehearsal of the model was not begun")
        answer, _ = self._process.communicate(pickle.dumps((located, config.model_dump_json(by_alias=True))))
        if self._process.returncode:
            raise RuntimeError(f"the rehearsal of {located.name} ended with exit code {self._process.returncode}; its words are above")
        verdict: Rehearsed | InputError = pickle.loads(answer)  # noqa: S301 - our own program pickled it
        if isinstance(verdict, InputError):
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
    """Read a pickled (LocatedModel, TrainConfig as JSON) from stdin; write what `rehearse` returns or the InputError, pickled."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    gc.disable()  # what is imported is never garbage, and looking for some takes a tenth of the time
    keep_what_transformers_lists()
    from trainer.preflight.rehearsal import rehearse  # before the request is read, which may come later

    request = sys.stdin.buffer.read()
    if not request:  # nobody needs it any more
        return
    located, config = pickle.loads(request)  # noqa: S301 - the program that started this one pickled it
    verdict: Rehearsed | InputError
    with contextlib.redirect_stdout(sys.stderr):
        try:
            verdict = rehearse(located, TrainConfig.model_validate_json(config))
        except InputError as error:
            verdict = error
    sys.stdout.buffer.write(pickle.dumps(verdict))
    sys.stdout.buffer.flush()
    os._exit(0)  # to take torch apart at exit takes a second, and the driver waits


if __name__ == "__main__":
    main()
