"""A small program in the trainer's place: reads the configuration, writes records as the trainer does, ends as its argument says.

`python standin.py BEHAVIOR --config FILE [--check]`; see BEHAVIORS, and CHECKS. Not a test.
"""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from finetune.api.trainconfig import TrainConfig

config = json.loads(Path(sys.argv[sys.argv.index("--config") + 1]).read_text())
output = Path(config["output"]["directory"])
sequence = 0


def record(stage: str, **fields: Any) -> None:
    global sequence
    sequence += 1
    content = {"attempt": 1, "sequence": sequence, "time": datetime.now(UTC).isoformat(), "stage": stage, **fields}
    path = Path(config["progress"]["file"])
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content))
    temporary.replace(path)


def outcome(result: str, message: str) -> dict[str, str]:
    return {"result": result, "reason": "SomeReason", "message": message}


def run_file(finished: bool) -> None:
    lineage = TrainConfig.model_validate(config).lineage()
    owner = {"uid": None, "name": config["job"]["name"]}
    (output / "run.json").write_text(json.dumps({"owner": owner, "lineage": lineage, "finished": finished}))


def write_results() -> None:
    adapter = output / "model" / "adapter"
    adapter.mkdir(parents=True, exist_ok=True)
    for file in (adapter / "adapter_config.json", adapter / "adapter_model.safetensors", output / "report.json"):
        file.write_text("{}")


def checkpoint(step: int) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    return {"step": step, "uri": str(output), "sizeBytes": 1_500_000, "createdTime": now, "attempt": 1, "verified": True}


def training(step: int, **fields: Any) -> None:
    progress = {"step": step, "totalSteps": 4, "epoch": step / 4, "tokensSeen": 100 * step, "tokensPerSecond": 50.0, "etaSeconds": 8.0}
    record("Training", progress=progress, metrics={"latest": {"trainLoss": 2.0}}, **fields)


def until_it_was_followed(step: int) -> None:
    """Wait until the command has shown the record of a step: a later one would replace it."""
    while (json.loads((output / "status.json").read_text()).get("progress") or {}).get("step") != step:
        time.sleep(0.02)


def succeed() -> int:
    run_file(finished=False)
    (output / ".finetune" / "dashboard.json").write_text(json.dumps({"url": "http://127.0.0.1:8265"}))
    training(2, resumedFromStep=1)
    until_it_was_followed(2)
    training(4, resumedFromStep=1, checkpoints=[checkpoint(4)])
    until_it_was_followed(4)
    write_results()
    print("a line for the user", flush=True)
    print("\x1b[36m(RayTrainWorker pid=77)\x1b[0m a line of a worker", flush=True)
    print("a line of the log", file=sys.stderr)
    run_file(finished=True)
    record("Finished", resumedFromStep=1, checkpoints=[checkpoint(4)], outcome=outcome("Succeeded", "well"))
    return 0


def timed() -> int:
    """Succeed with timings in the report, and say when the command began."""
    code = succeed()
    stage = {"stage": "start", "process": "driver", "startSeconds": 0.0, "seconds": 1.5, "cpuSeconds": 1.2, "times": 1, "beside": False}
    (output / "report.json").write_text(json.dumps({"timings": {"seconds": 1.5, "stages": [stage]}}))
    (output / "started").write_text(os.environ["FINETUNE_STARTED"])
    return code


def logs_at_the_end() -> int:
    """Succeed, and log once the command has looked at everything for the last time before the end."""
    run_file(finished=False)
    write_results()
    training(4)
    print("a line for the user", flush=True)
    until_it_was_followed(4)
    run_file(finished=True)
    record("Finished", outcome=outcome("Succeeded", "well"))
    print("a late line\nand one without its end", end="", file=sys.stderr)
    return 0


def wait() -> int:
    """Train until SIGTERM, then write a checkpoint; leave behind a daemon in a session of its own, as Ray does."""
    run_file(finished=False)

    def stop(*_: Any) -> None:
        record("Finished", checkpoints=[checkpoint(3)], outcome=outcome("Interrupted", "stopped on request"))
        sys.exit(3)

    signal.signal(signal.SIGTERM, stop)
    daemon()
    training(3)
    (output / "pids").write_text(f"{os.getpid()} {(output / 'daemon').read_text()}")
    time.sleep(60)
    return 1


def check_without_end() -> int:
    """Begin with the input, as long as nobody asks for the end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
    record("Starting")
    (output / "pids").write_text(str(os.getpid()))
    time.sleep(60)
    return 1


def stubborn() -> int:
    """Note SIGTERM, and do not end on it."""
    signal.signal(signal.SIGTERM, lambda *_: (output / "asked").touch())
    (output / "pids").write_text(str(os.getpid()))
    time.sleep(60)
    return 1


def daemon() -> None:
    """Start a process that forks, so that its parent is gone, and takes a session of its own."""
    code = (
        "import os, signal, sys, time\n"
        "if os.fork(): os._exit(0)\n"
        "os.setsid(); signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)\n"
    )
    path = output / "daemon"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    while not (path.is_file() and path.read_text()):
        time.sleep(0.02)


def refuse() -> int:
    record("Finished", outcome=outcome("InputInvalid", "data.train[0].path: line 3 is not JSON; fix it"))
    return 2


def fail() -> int:
    print("the last words", file=sys.stderr)
    record("Finished", checkpoints=[checkpoint(2)], outcome=outcome("Failed", "the loss is not a number\nat step 3"))
    return 1


def killed() -> int:
    (output / ".finetune" / "data" / "start-1" / "rows").mkdir(parents=True)
    training(1)
    print("the last words", file=sys.stderr)
    os.kill(os.getpid(), signal.SIGKILL)
    return 1


def found() -> int:
    print("train: 3 rows")
    return 0


CHECKS = ("refuse", "fail", "found", "killed")
"""What answers to --check as it answers otherwise; all else finds nothing wrong."""
BEHAVIORS = {b.__name__: b for b in (succeed, timed, logs_at_the_end, wait, check_without_end, stubborn, refuse, fail, killed, found)}
if __name__ == "__main__":
    behavior = sys.argv[1] if "--check" not in sys.argv or sys.argv[1] in CHECKS else "found"
    sys.exit(BEHAVIORS[behavior]())
