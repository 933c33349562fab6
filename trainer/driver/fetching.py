"""Fetches what the ranks load before they load it, once on each node: the ranks are closed to the hub, and have no token.

Touches Ray where the ranks are on other nodes. Tests: tests/trainer/driver/test_fetching.py (real Ray, two nodes),
tests/finetune/cli/test_fetched_once.py (whole runs).
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from finetune.api.sources import ModelSource
from finetune.api.tasks import ModelFamily
from finetune.api.timings import TimedStage
from finetune.api.trainconfig import TrainConfig
from trainer.model.earlier import adapted_folder, untouched
from trainer.model.location import locate
from trainer.preflight.inputs import Inputs
from trainer.preflight.rewriters import located_at
from trainer.reporting.stageclock import StageClock

logger = logging.getLogger(__name__)

NODES_SECONDS = 300.0
"""As long as Ray Train waits for workers to start, before what it says of those that are missing is better than silence."""
NODES_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Wanted:
    """A model at one commit of the hub, and the field that names it."""

    field: str
    model: ModelSource


def fetch_for_ranks(config: TrainConfig, inputs: Inputs, clock: StageClock) -> Inputs:
    """Have the files of all models from the hub on every node that has ranks; return the input by which the ranks find them.

    Raises what `locate` raises.
    """
    inputs = _with_pinned_base(inputs)
    wanted = wanted_by_ranks(inputs)
    if wanted:
        clock.begin(TimedStage.FETCH)
        if config.on_cluster:
            fetch_on_nodes(wanted, config.workers.workers)
        else:
            fetch_here(wanted)
    return inputs


def wanted_by_ranks(inputs: Inputs) -> list[Wanted]:
    """Return the models of the hub that every rank loads: the one that is trained, those that write, and what a corpus was learned by."""
    located = {"model": inputs.located, **{field: rewriter.located for field, rewriter in inputs.rewriters.items()}}
    found = [Wanted(field, model.pinned()) for field, model in located.items() if model.revision is not None]
    base = inputs.located.request
    if adapted_folder(base) is not None and base.name is not None and base.revision is not None and _asks_base(inputs):
        found.append(Wanted("model", untouched(base)))
    return found


def fetch_here(wanted: Sequence[Wanted]) -> None:
    """Have the files on this node."""
    for each in wanted:
        logger.info("%s: %s", each.field, located_at(each.field, each.model).source)


def fetch_on_nodes(wanted: Sequence[Wanted], workers: int) -> None:
    """Have the files on every node that has ranks, by one process on each, which is not closed; raises what it raises.

    `workers` is how many such nodes there will be.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # A process that has the token must not wait for other work afterwards: max_calls ends it.
    fetch = ray.remote(num_cpus=0, max_retries=0, max_calls=1)(fetch_here)
    nodes = await_nodes(workers)
    pending = [fetch.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(list(wanted)) for node in nodes]
    try:
        ray.get(pending)
    except ray.exceptions.RayTaskError as error:
        cause: Any = error.cause
        raise cause if isinstance(cause, Exception) else error from error


def await_nodes(workers: int, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep) -> list[str]:
    """Return the nodes that can have ranks, once as many as `workers` are there, or NODES_SECONDS later those that are."""
    deadline = clock() + NODES_SECONDS
    nodes = _nodes()
    if len(nodes) < workers:
        logger.info("waiting up to %.0f s for %d worker nodes to fetch on; %d are there", NODES_SECONDS, workers, len(nodes))
    while len(nodes) < workers and clock() < deadline:
        sleep(NODES_POLL_SECONDS)
        nodes = _nodes()
    if len(nodes) < workers:
        logger.warning("%d of %d worker nodes have not joined within %.0f s", workers - len(nodes), workers, NODES_SECONDS)
    return nodes


def _nodes() -> list[str]:
    import ray

    # The head's node has no processors for ranks.
    return [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) > 0]


def _with_pinned_base(inputs: Inputs) -> Inputs:
    """Return the input with the commit of what a corpus was learned by, where ranks ask for that: a name may mean another by then."""
    request = inputs.located.request
    if adapted_folder(request) is None or request.name is None or not _asks_base(inputs):
        return inputs
    base = locate(untouched(request), weights=False)
    if base.revision is None:
        return inputs
    pinned = request.model_copy(update={"revision": base.revision})
    return replace(inputs, located=replace(inputs.located, request=pinned))


def _asks_base(inputs: Inputs) -> bool:
    """Return whether ranks take weights of the model from before the corpus: the pooler of an encoder."""
    return inputs.task.family is ModelFamily.ENCODER and not inputs.located.draws
