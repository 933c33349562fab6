"""What a job may ask for is bounded by the administrator."""

from typing import Any

import pytest

from controller.job.limits import refusals
from controller.job.situation import CreateAttempt
from finetune.api.conditions import Reason
from finetune.api.spec import FineTuneJobSpec
from finetune.api.status import ConditionType
from tests.builders import wire_spec
from tests.controller.job.builders import Settings, attempt, job, observed, ray_job, status
from tests.controller.job.decisions import condition, decide
from tests.controller.job.world import World


def priority(name: str) -> dict[str, Any]:
    return {"resources": {"priorityClassName": name}}


def tolerates(*keys: str | None) -> dict[str, Any]:
    return {"resources": {"tolerations": [{"operator": "Exists", **({"key": key} if key else {})} for key in keys]}}


def secret(name: str) -> dict[str, Any]:
    return {"model": {"name": "org/model", "tokenSecret": {"name": name, "key": "token"}}}


def model(**source: Any) -> dict[str, Any]:
    return {"model": source}


def on_claim(claim: str, path: str = "") -> dict[str, Any]:
    return {"persistentVolumeClaim": {"claimName": claim, "path": path}}


def size(workers: int, gpus: int) -> dict[str, Any]:
    return {"distributed": {"workers": workers}, "resources": {"gpus": gpus}, "training": {"epochs": 1, "globalBatchSize": 64}}


def written_by(name: str) -> dict[str, Any]:
    operation = {"backTranslation": {"there": {"name": "org/there"}, "back": {"name": name}}}
    return {"augmentation": {"operations": [operation]}}


QWEN = {"allowed_models": ("Qwen/*", "claim:models/approved/*")}


@pytest.mark.parametrize(
    ("sections", "limits", "refused"),
    [
        ({}, {}, None),
        (priority("batch"), {}, None),
        (priority("system-node-critical"), {}, "resources.priorityClassName: system-node-critical"),
        (priority("system-cluster-critical"), {}, "resources.priorityClassName: system-cluster-critical"),
        (priority("system-anything"), {}, "resources.priorityClassName: system-anything"),
        (priority("systematic"), {}, None),
        (priority("batch"), {"allowed_priority_classes": ("low", "batch-*")}, "resources.priorityClassName: batch is not allowed"),
        (priority("batch-7"), {"allowed_priority_classes": ("low", "batch-*")}, None),
        (
            priority("batch"),
            {"allowed_priority_classes": ()},
            "the administrator allows no PriorityClasses here; leave it out, in a new job, or ask",
        ),
        (priority("system-node-critical"), {"allowed_priority_classes": ("*", "system-node-critical")}, None),
        (priority("system-node-critical"), {"allowed_priority_classes": ("system-*",)}, None),
        (priority("system-node-critical"), {"allowed_priority_classes": ("*-critical",)}, "system-node-critical is not allowed"),
        (priority("system-node-critical"), {"allowed_priority_classes": ("**",)}, None),
        (tolerates("nvidia.com/gpu", "dedicated"), {}, None),
        (tolerates("nvidia.com/gpu", None), {}, "resources.tolerations[1]: without a key it tolerates every taint"),
        (tolerates(None), {"allowed_toleration_keys": ("dedicated",)}, "resources.tolerations[0]: without a key"),
        (tolerates(None), {"allowed_toleration_keys": ()}, "which the administrator does not allow; leave it out, in a new job"),
        (tolerates("dedicated"), {"allowed_toleration_keys": ()}, "the administrator allows no taints here; leave it out, in a new job"),
        (tolerates(None, "node.kubernetes.io/unreachable"), {"allowed_toleration_keys": ("**",)}, None),
        (tolerates("node-role.kubernetes.io/control-plane"), {}, "resources.tolerations[0].key: node-role.kubernetes.io/control-plane"),
        (tolerates("node.kubernetes.io/not-ready"), {}, "resources.tolerations[0].key: node.kubernetes.io/not-ready"),
        (tolerates("node.kubernetes.io/not-ready"), {"allowed_toleration_keys": ("*", "node.kubernetes.io/*")}, None),
        (tolerates("dedicated"), {"allowed_toleration_keys": ("nvidia.com/*",)}, "allowed taints: nvidia.com/*"),
        (secret("huggingface-token"), {}, None),
        (secret("database"), {"allowed_token_secrets": ("hf-*",)}, "model.tokenSecret.name: database is not allowed"),
        (secret("hf-team"), {"allowed_token_secrets": ("hf-*",)}, None),
        (secret("xhf-team"), {"allowed_token_secrets": ("hf-*",)}, "allowed Secrets: hf-*"),
        (secret("hfx"), {"allowed_token_secrets": ("hf.",)}, "hfx is not allowed"),
        (secret("sh.helm.release.v1.app.v3"), {}, "model.tokenSecret.name: sh.helm.release.v1.app.v3"),
        (secret("any"), {"allowed_token_secrets": ()}, "the administrator allows no Secrets here; leave it out, in a new job, or ask"),
        (model(name="Qwen/Qwen3-8B"), QWEN, None),
        (
            model(name="org/model"),
            QWEN,
            "org/model is not allowed by the administrator; allowed models: Qwen/*, claim:models/a",
        ),
        (model(name="Qwen"), QWEN, "model.name: Qwen is not allowed"),
        (model(name="xQwen/Qwen3-8B"), QWEN, "model.name: xQwen/Qwen3-8B is not allowed"),
        (
            model(name="org/model"),
            {"allowed_models": ()},
            "org/model is not allowed: the administrator allows no models here; ask the administrator",
        ),
        (model(**on_claim("models", "approved/llama")), QWEN, None),
        (model(**on_claim("models", "mine")), QWEN, "model.persistentVolumeClaim: claim:models/mine is not allowed"),
        (model(**on_claim("models", "./approved/x")), QWEN, "model.persistentVolumeClaim: claim:models/./approved/x is not allowed"),
        (model(**on_claim("models2", "approved/x")), QWEN, "model.persistentVolumeClaim: claim:models2/approved/x is not allowed"),
        (model(**on_claim("anything")), {}, None),
        (model(fineTuneJob={"name": "earlier"}), QWEN, None),
        (size(4, 2), {"max_workers": 4, "max_gpus": 8}, None),
        (
            size(8, 0),
            {"max_workers": 4},
            "distributed.workers: 8 workers are too many: the administrator allows a job",
        ),
        (
            size(4, 4),
            {"max_gpus": 8},
            "resources.gpus: 4 x 4 GPUs are too many: the administrator allows a job",
        ),
        (size(1, 1), {"max_gpus": 0}, "at most 0 in all; ask for fewer GPUs or workers, in a new job, or ask the administrator"),
        ({}, {"max_gpus": 0, "max_workers": 1}, None),
    ],
)
def test_what_a_job_may_not_ask_for_is_refused_by_its_field(sections: dict[str, Any], limits: dict[str, Any], refused: str | None) -> None:
    found = refusals(FineTuneJobSpec.model_validate(wire_spec(**sections)), Settings(**limits))
    assert (len(found), refused is None or refused in found[0]) == (0 if refused is None else 1, True)
    assert all("in a new job" in words or "no models here" in words for words in found)
    assert not any("none" in words for words in found)


def test_models_that_write_texts_are_models_too() -> None:
    sections = written_by("org/back") | model(name="Qwen/Qwen3-8B")
    found = refusals(FineTuneJobSpec.model_validate(wire_spec(**sections)), Settings(**QWEN))
    fields = ["augmentation.operations[0].backTranslation.there.name", "augmentation.operations[0].backTranslation.back.name"]
    assert [words.split(":")[0] for words in found] == fields


def test_everything_that_is_refused_is_reported_at_once() -> None:
    sections = {"resources": priority("system-x")["resources"] | tolerates(None)["resources"]} | secret("db")
    found = refusals(FineTuneJobSpec.model_validate(wire_spec(**sections)), Settings(allowed_token_secrets=("hf-*",)))
    assert [words.split(":")[0] for words in found] == ["resources.priorityClassName", "resources.tolerations[0]", "model.tokenSecret.name"]


async def test_a_job_that_asks_for_too_much_is_not_started_and_says_what_is_allowed() -> None:
    world = World(**priority("system-node-critical"))
    for _ in range(3):
        await world.step()
    accepted = world.condition("Accepted")
    assert (accepted["status"], accepted["reason"], world.status["phase"]) == ("False", "SpecInvalid", "Invalid")
    assert "resources.priorityClassName: system-node-critical is not allowed" in accepted["message"]
    assert "attempts" not in world.status
    assert world.writes() == ["PATCH status"]


def test_an_attempt_that_was_started_goes_on_and_the_next_one_is_refused() -> None:
    words = ("resources.priorityClassName: gold is not allowed",)
    runs = decide(observed(job(status=status(attempt())), ray_job(), refused=words))
    assert (runs.status.phase, runs.actions) == ("Running", ())
    failed = decide(observed(job(status=status(attempt())), ray_job(1, "FAILED", "Failed"), refused=words))
    following = decide(observed(job(status=failed.status), refused=words), 3600)
    accepted = condition(following, ConditionType.ACCEPTED)
    assert (accepted.status, accepted.reason, following.actions) == ("False", Reason.SPEC_INVALID, ())


def test_a_job_that_was_refused_starts_once_it_is_allowed() -> None:
    first = decide(observed(job(), refused=("model.tokenSecret.name: x",)))
    assert first.status.attempts is None
    second = decide(observed(job(status=first.status)))
    assert condition(second, ConditionType.ACCEPTED).status == "True"
    assert decide(observed(job(status=second.status))).actions == (CreateAttempt(1),)
