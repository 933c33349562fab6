"""Ranks wait for rank 0 as long as it works, and not for one that is gone."""

import json
from pathlib import Path

import pytest

from tests.trainer.engine.ranks import end_ranks, run_ranks, start_ranks

pytestmark = pytest.mark.timeout(120)

WAITING = """
import json, os, signal, sys, time
from datetime import timedelta
from pathlib import Path
import torch
from trainer.engine import patience

folder, dies = Path(sys.argv[-1]).parent, sys.argv[1] == "dies"
waited = folder / "waited"
torch.distributed.init_process_group("gloo")
rank = torch.distributed.get_rank()
patience.TURN = timedelta(milliseconds=50)
store, turns = torch.distributed.distributed_c10d._get_default_store(), []

class Counting:
    def __getattr__(self, name):
        return getattr(store, name)

    def wait(self, keys, turn):
        turns.append(keys)
        if len(turns) == 4:
            waited.touch()
        store.wait(keys, turn)

torch.distributed.distributed_c10d._get_default_store = Counting
if rank == 0:
    while not waited.exists():
        time.sleep(0.02)
    if dies:
        os.kill(os.getpid(), signal.SIGKILL)
found = [patience.from_rank_0({"rank": rank, "number": number}, rank, 2) for number in range(3)]
(folder / f"{rank}.json").write_text(json.dumps({"found": found, "turns": len(turns)}))
torch.distributed.barrier()
if rank == 0:
    left = [key for number in range(3) for key in (f"finetune/{number}", f"finetune/{number}/read") if store.check([key])]
    Path(sys.argv[-1]).write_text(json.dumps({"left": left}))
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""


def test_all_ranks_get_rank_0_s_values_in_order_however_many_turns_it_takes(tmp_path: Path) -> None:
    left = run_ranks(2, tmp_path / "left.json", "-c", WAITING, "lives")

    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert ranks[0]["found"] == ranks[1]["found"] == [{"rank": 0, "number": number} for number in range(3)]
    assert (ranks[0]["turns"], ranks[1]["turns"] > 4) == (0, True)
    assert left == {"left": []}, "what all have read is in memory no more"


def test_ranks_notice_at_once_that_rank_0_has_died(tmp_path: Path) -> None:
    ranks = start_ranks(2, "-c", WAITING, "dies", str(tmp_path / "left.json"))
    try:
        errors = [rank.communicate(timeout=60)[1] for rank in ranks]
    finally:
        end_ranks(ranks)
    assert [rank.returncode for rank in ranks] == [-9, 1]
    assert "DistNetworkError" in errors[1]


LATE = """
import os, sys, time
from pathlib import Path
import torch
from trainer.engine.base import EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.engine.optimizer import AdamW

output = Path(sys.argv[-1])
given = output.with_name("given")
torch.distributed.init_process_group("gloo")
engine = DdpEngine(torch.nn.Linear(1, 1), EngineSettings(AdamW(0.0), 1.0, 1, 1), torch.device("cpu"))
while engine.rank == 1 and not given.exists():
    time.sleep(0.02)
found = engine.broadcast("value")
if engine.rank == 0:
    output.write_text("{}")
    given.touch()
engine.wait_for_all()
os._exit(0 if found == "value" else 2)
"""


def test_rank_0_waits_at_the_end_for_ranks_that_read_late(tmp_path: Path) -> None:
    assert run_ranks(2, tmp_path / "done.json", "-c", LATE) == {}
