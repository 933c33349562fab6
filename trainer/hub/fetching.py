"""Has a program of its own fetch from the hub, where this process is closed to it: `python -m trainer.hub.fetching`.

That program alone has the network and the token, and ends with its answer. What a name refers to is asked once in a process: all that is
fetched of it later belongs to the commit that was found first, whatever the hub has by then.
Where a process was not closed (`finetune predict`, a node that fetches for its ranks), it asks the hub itself.
Test: tests/trainer/hub/test_fetching.py.
"""

import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from finetune.api.errors import InputError, RunError
from finetune.api.sources import HuggingFaceDataset
from finetune.system.hubaccess import environment_for_fetching
from finetune.system.interpreter import ROOT, lasting_python_path
from trainer.data.records import Record
from trainer.hub.connection import FetchError, FetchMemoryError, FetchStorageError
from trainer.hub.models import HubSettings, Snapshot, cached_commit, fetch

COMMAND = (sys.executable, "-P", "-m", "trainer.hub.fetching")
logger = logging.getLogger(__name__)

_commits: dict[tuple[str, str, str | None], str] = {}
"""What was found: commits by kind of repository, name and revision asked for."""
_data_sets: dict[str, tuple[bytes, str | None]] = {}
"""Where the rows of what was read lie, and their commits, by the JSON of what was asked for: a job's further runs read the same."""
_models_asked, _data_sets_asked = threading.Lock(), threading.Lock()
"""One name is asked for at a time: two answers may be two commits."""


def model_files(name: str, revision: str | None, *, weights: bool = True) -> Snapshot:
    """Return what `trainer.hub.models.fetch` does, fetched by a program of its own where this process is closed."""
    environment = environment_for_fetching()
    if environment is None:
        return fetch(name, revision, HubSettings.from_environment(), weights=weights)
    with _models_asked:
        key = ("model", name, revision)
        known = _commits.get(key, revision)
        found = cached_commit(name, known, HubSettings.from_environment(), weights=weights)
        if found is None:
            found = _asked(environment, name, "model", name, known, weights)
        _commits[key] = found.commit
        return found


def read_hub(field: str, source: HuggingFaceDataset) -> tuple[Iterator[Record], str]:
    """Return the records of a split and the commit that they belong to; fetched by a program of its own where this process is closed."""
    environment = environment_for_fetching()
    if environment is None:
        from trainer.hub.datasets import load_rows

        rows, commit = load_rows(field, source)
    else:
        packed, commit = _packed_rows(environment, field, source)
        rows = pickle.loads(packed)  # noqa: S301 - our own program pickled it: where the rows lie in the cache, not the rows
    return (Record(f"row {number}", values, typed=True) for number, values in enumerate(rows, start=1)), commit or "of the cache"


def _packed_rows(environment: dict[str, str], field: str, source: HuggingFaceDataset) -> tuple[bytes, str | None]:
    with _data_sets_asked:
        wanted, key = source.model_dump_json(), ("data set", source.name, source.revision)
        if wanted not in _data_sets:
            pinned = source.model_copy(update={"revision": _commits.get(key, source.revision)})
            _data_sets[wanted] = _asked(environment, source.name, "data set", field, pinned)
            commit = _data_sets[wanted][1]
            if commit is not None:
                _commits[key] = commit
        return _data_sets[wanted]


def _asked(environment: dict[str, str], name: str, *request: Any) -> Any:
    """Return the answer of a program that fetches; raises the RunError that it met, or FetchError where it came to no answer."""
    path = os.pathsep.join([str(ROOT), *lasting_python_path(environment)])
    with subprocess.Popen(
        COMMAND, env=environment | {"PYTHONPATH": path, "PYTHONUTF8": "1"}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise ValueError("the program has no pipes")
        try:
            process.stdin.write(pickle.dumps(request))
            process.stdin.flush()  # and open: its end tells the program that nobody waits any more
            answer = process.stdout.read()
        except BaseException:
            process.kill()
            raise
    if process.returncode == -signal.SIGKILL:
        raise FetchMemoryError(f"the program that fetches {name} from the hub was killed; the machine has probably run out of memory")
    if process.returncode or not answer:
        raise FetchError(f"the program that fetches {name} from the hub ended with exit code {process.returncode}, without an answer")
    result = pickle.loads(answer)  # noqa: S301 - our own program pickled it
    if isinstance(result, RunError):
        raise result
    return result


def main() -> None:
    """Read a pickled request from stdin; write what was found or a RunError, pickled."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the one that waits, and ends this program with it
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not tear the answer
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for library in ("httpx", "httpx2"):  # whichever the hub's client uses; it tells of every request
        logging.getLogger(library).setLevel(logging.WARNING)
    request = pickle.load(sys.stdin.buffer)  # noqa: S301 - the program that started this one pickled it
    threading.Thread(target=_leave_when_nobody_waits, daemon=True).start()
    answer.write(pickle.dumps(_answer_to(*request)))
    answer.flush()
    os._exit(0)  # clients of the hub may have threads


def _leave_when_nobody_waits() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def _answer_to(kind: str, name: str, *request: Any) -> Any:
    try:
        return ANSWERS[kind](name, *request)
    except InputError as error:
        return error
    except RunError as error:
        logger.exception("fetching %s failed", name)  # its causes are not pickled
        return error
    except Exception as error:  # whatever it is, the run has to say it
        logger.exception("fetching %s failed", name)
        return _class_for(error)(f"fetching from the hub failed: {type(error).__name__}: {error}")


def _class_for(error: Exception) -> type[FetchError]:
    if isinstance(error, MemoryError):
        return FetchMemoryError
    return FetchStorageError if isinstance(error, OSError) else FetchError


def _model(name: str, revision: str | None, weights: bool) -> Snapshot:
    return fetch(name, revision, HubSettings.from_environment(), weights=weights)


def _data_set(field: str, source: HuggingFaceDataset) -> tuple[bytes, str | None]:
    from trainer.hub.datasets import load_rows

    rows, commit = load_rows(field, source)
    return pickle.dumps(rows), commit


ANSWERS: dict[str, Callable[..., Any]] = {"model": _model, "data set": _data_set}

if __name__ == "__main__":
    main()
