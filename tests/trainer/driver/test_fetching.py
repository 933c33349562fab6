"""What ranks load is fetched once on each node before they load it, by a process that is no rank."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from finetune.api.sources import ModelSource
from finetune.api.tasks import ModelFamily
from finetune.api.timings import TimedStage
from finetune.api.trainconfig import AdaptedModel, RunModel
from finetune.system.hubaccess import closed_environment
from tests.builders import train_config
from tests.repository import REPOSITORY
from tests.trainer.fixtures.causal import located_folder, save_tiny_model
from tests.trainer.hub.watched import watched_hub
from tests.trainer.model.hub_server import COMMIT, GOOD_TOKEN, NAME, Behavior, hub_server
from trainer.driver.fetching import NODES_SECONDS, await_nodes, fetch_for_ranks, wanted_by_ranks
from trainer.driver.workers import ray_trainer
from trainer.model.location import LocatedModel, ModelKind, locate, untouched_folder
from trainer.preflight.inputs import Inputs
from trainer.preflight.rewriters import Rewriter
from trainer.reporting.stageclock import StageClock

FIELD = "augmentation.operations[0].paraphrase.model"


def checked(located: LocatedModel, family: ModelFamily = ModelFamily.CAUSAL, writer: LocatedModel | None = None) -> Inputs:
    """Return an input of which only what is looked at here is there."""
    task: Any = SimpleNamespace(family=family)
    dataset: Any = None
    writers = {FIELD: Rewriter(writer, ModelFamily.CAUSAL, "")} if writer is not None else {}
    return Inputs(task, dataset, located, None, (), rewriters=writers)


def on_the_hub(folder: Path, name: str = NAME, **request: Any) -> LocatedModel:
    return LocatedModel(name, "model.name", folder, ModelKind.FOLDER, "hub", RunModel(name=name, **request), revision=COMMIT)


def test_ranks_load_the_commits_that_were_checked_of_all_models_from_the_hub(saved_model: Path) -> None:
    local, trained, writer = located_folder(saved_model), on_the_hub(saved_model), on_the_hub(saved_model, "acme/writer")
    assert wanted_by_ranks(checked(local)) == []
    wanted = wanted_by_ranks(checked(trained, writer=writer))
    assert [(each.field, each.model.name, each.model.revision) for each in wanted] == [
        ("model", NAME, COMMIT),
        (FIELD, "acme/writer", COMMIT),
    ]
    assert [each.field for each in wanted_by_ranks(checked(local, writer=writer))] == [FIELD]


def test_nothing_is_fetched_and_no_time_is_noted_where_nothing_comes_from_the_hub(saved_model: Path) -> None:
    clock, given = StageClock("driver", 0.0), checked(located_folder(saved_model))
    assert fetch_for_ranks(train_config(), given, clock) is given
    assert TimedStage.FETCH not in {timing.stage for timing in clock.timings().stages}


def test_weights_are_there_when_the_step_is_over(saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = StageClock("driver", 0.0)
    with hub_server(saved_model) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        small = locate(ModelSource(name=NAME), weights=False)
        assert not (small.path / "model.safetensors").exists()
        fetch_for_ranks(train_config(), checked(small), clock)
    assert (small.path / "model.safetensors").is_file()
    assert TimedStage.FETCH in {timing.stage for timing in clock.timings().stages}


@pytest.mark.parametrize(("family", "commit"), [(ModelFamily.ENCODER, COMMIT), (ModelFamily.CAUSAL, None)])
def test_an_encoder_that_learned_a_corpus_takes_its_pooler_from_the_commit_that_is_fetched(
    saved_model: Path, monkeypatch: pytest.MonkeyPatch, family: ModelFamily, commit: str | None
) -> None:
    with hub_server(saved_model) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        located = locate(RunModel(name=NAME, adapted=AdaptedModel(path=str(saved_model))))
        given = fetch_for_ranks(train_config(), checked(located, family), StageClock("driver", 0.0))
        assert given.located.pinned().revision == commit
        server.behavior = Behavior.FAILING
        if commit is not None:
            folder = untouched_folder(locate_again(given.located))
            assert folder is not None
            assert (folder.name, (folder / "model.safetensors").is_file()) == (commit, True)
        else:
            assert server.requests == [], "nobody asks for the weights from before"


def locate_again(located: LocatedModel) -> LocatedModel:
    return locate(located.pinned())


@pytest.mark.parametrize(
    ("joins_after_seconds", "nodes", "waited"),
    [pytest.param(0, ["one", "two"], 0, id="all are there"), pytest.param(40, ["one", "two"], 40, id="one is late"),
     pytest.param(10_000, ["one"], NODES_SECONDS, id="one never joins")],
)  # fmt: skip
def test_worker_nodes_are_waited_for_in_bounded_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, joins_after_seconds: float, nodes: list[str], waited: float
) -> None:
    now = 1000.0

    def ray_nodes() -> list[dict[str, Any]]:
        late = now >= 1000 + joins_after_seconds
        head, lost = {"NodeID": "head", "Alive": True, "Resources": {}}, {"NodeID": "lost", "Alive": False, "Resources": {"CPU": 4.0}}
        return [head, lost, *({"NodeID": name, "Alive": True, "Resources": {"CPU": 4.0}} for name in (["one", "two"] if late else ["one"]))]

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr("ray.nodes", ray_nodes)
    caplog.set_level("INFO")
    assert await_nodes(2, clock=lambda: now, sleep=sleep) == nodes
    assert now - 1000 == waited
    assert ("waiting up to 300 s for 2 worker nodes to fetch on; 1 are there" in caplog.text) == (waited > 0)
    assert ("1 of 2 worker nodes have not joined" in caplog.text) == (nodes == ["one"])


def test_as_many_nodes_are_waited_for_as_the_job_has_workers(saved_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[int]()
    monkeypatch.setattr("trainer.driver.fetching.fetch_on_nodes", lambda _, workers: asked.append(workers))
    config = train_config(progress={"namespace": "default", "configMap": "bot-progress"}, workers={"workers": 3, "gpusPerWorker": 4})
    fetch_for_ranks(config, checked(on_the_hub(saved_model)), StageClock("driver", 0.0))
    assert asked == [3]


def test_ranks_get_a_closed_environment_where_they_would_inherit_that_of_a_pod(tmp_path: Path) -> None:
    config = train_config(progress={"namespace": "default", "configMap": "bot-progress"}, output={"directory": str(tmp_path)})
    assert ray_trainer(config, payload=None).run_config.worker_runtime_env == {"env_vars": closed_environment()}


# Two nodes as two worker pods: each has the token in its environment and a cache of its own. The head runs no rank.
# The second joins while the driver fetches.
PROGRAM = """
import json, os, sys, time
from concurrent.futures import ThreadPoolExecutor
import ray
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from finetune.api.errors import InputError
from finetune.api.sources import ModelSource
from finetune.system.hubaccess import close_but_for_fetching, closed_environment
from trainer.driver.fetching import Wanted, fetch_on_nodes

folder, name, commit = sys.argv[1:]
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})

def join(number):
    cluster.add_node(num_cpus=1, env_vars=environments[number])

opened = {variable: os.environ.get(variable, "") for variable in closed_environment()}  # a pod starts with it, whatever is closed by then
environments = [opened | {"HF_HOME": f"{folder}/node-{number}"} for number in range(2)]
join(0)
close_but_for_fetching()
ray.init(address=cluster.address, log_to_driver=False)


def rank(name, commit):
    from trainer.model.location import locate
    from trainer.rank.worker import close
    close()
    environment = {variable: os.environ.get(variable) for variable in ("HF_HUB_OFFLINE", "HF_TOKEN")}
    try:
        found = locate(ModelSource(name=name, revision=commit))
        return environment | {"folder": str(found.path), "whole": (found.path / "model.safetensors").is_file()}
    except Exception as error:
        return environment | {"error": str(error)}


def on_every_node():
    ranks = ray.remote(num_cpus=1, runtime_env={"env_vars": closed_environment()})(rank)
    nodes = sorted(node["NodeID"] for node in ray.nodes() if node["Resources"].get("CPU"))
    return ray.get([
        ranks.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(name, commit) for node in nodes
    ])


said = {"before": on_every_node()}
with ThreadPoolExecutor() as pool:  # Ray starts nodes in the main thread alone
    fetched = pool.submit(fetch_on_nodes, [Wanted("model", ModelSource(name=name, revision=commit))], workers=2)
    time.sleep(2)
    join(1)
    fetched.result()
print("FETCHED", flush=True)
sys.stdin.readline()
said["after"] = on_every_node()
try:
    fetch_on_nodes([Wanted("model", ModelSource(name="acme/other", revision=commit))], workers=2)
except InputError as error:
    said["error"] = [error.field, str(error)]
print(json.dumps(said), flush=True)
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.xdist_group("training")
def test_each_node_of_a_cluster_fetches_once_also_a_late_one_and_its_ranks_ask_nobody(tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model")
    with watched_hub(model, tmp_path) as server:
        own = {"HF_ENDPOINT": server.endpoint, "HF_TOKEN": GOOD_TOKEN, "PYTHONPATH": str(REPOSITORY), "RAY_USAGE_STATS_ENABLED": "0"}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")} | own
        with (
            (tmp_path / "stderr").open("w") as log,
            subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path), NAME, COMMIT], env=environment, cwd=tmp_path,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True) as process,
        ):  # fmt: skip
            assert process.stdin is not None
            assert process.stdout is not None
            lines = iter(process.stdout.readline, "")
            assert "FETCHED\n" in lines, (tmp_path / "stderr").read_text()[-4000:]
            asked, programs = list(server.requests), list(server.programs)
            _, alive = psutil.wait_procs(programs, timeout=60)
            process.stdin.write("\n")
            process.stdin.flush()
            *_, last = lines
    said = json.loads(last)
    closed = {"HF_HUB_OFFLINE": "1", "HF_TOKEN": None}
    assert ["error" in found for found in said["before"]] == [True], "the node has no files before"
    assert asked.count(f"GET /{NAME}/resolve/{COMMIT}/model.safetensors") == 2, "each node fetches once"
    assert {found["folder"].split("/node-")[1][0] for found in said["after"]} == {"0", "1"}
    assert len(programs) == 2
    assert alive == [], "no process that had the token waits for other work"
    assert [{name: found[name] for name in closed} for found in (*said["before"], *said["after"])] == [closed] * 3
    assert [found["whole"] for found in said["after"]] == [True, True]
    assert [request for request in server.requests[len(asked) :] if NAME in request] == []
    assert said["error"][0] == "model.name"
    assert "there is no model acme/other" in said["error"][1]
