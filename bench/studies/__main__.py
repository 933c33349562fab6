"""`python -m bench.studies transfer|augmentation --claim data=FOLDER --output DIR`: run the jobs of a study and print its table.

Each job is written to DIR/STUDY/NAME.yaml and run by `finetune run`; one whose report is there already is not run again. Models and
checkpoints are removed. The figures go to bench/results/STUDY.json. Tests: tests/bench/studies/.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from bench.studies.tables import Outcome, markdown, mean_difference
from bench.studies.variants import STUDIES, Variant

RESULTS = Path(__file__).parents[1] / "results"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a study."""
    parser = argparse.ArgumentParser(prog="python -m bench.studies", description="Run jobs that differ in one thing, and print one table.")
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--claim", required=True, metavar="data=FOLDER", help="the folder that holds banking77/train.csv and test.csv")
    parser.add_argument("--output", type=Path, default=Path("runs/studies"))
    asked = parser.parse_args(arguments)
    folder = asked.output / asked.study
    outcomes: list[tuple[Variant, Outcome]] = []
    for variant in STUDIES[asked.study]:
        outcome = run(variant, folder, asked.claim)
        print(f"{variant.name}: {outcome.shown}, {outcome.seconds:.0f} s", flush=True)
        outcomes.append((variant, outcome))
    table = table_of(asked.study, outcomes)
    print(f"\nload average {os.getloadavg()[1]:.1f}\n\n{table}")
    wire = [to_wire(variant, outcome) for variant, outcome in outcomes]
    (RESULTS / f"{asked.study}.json").write_text(json.dumps({"table": table.splitlines(), "runs": wire}, indent=1) + "\n")


def run(variant: Variant, folder: Path, claim: str) -> Outcome:
    """Run the job of a variant unless this very job has left its report; return what it came to. CalledProcessError where the run fails."""
    output, job = folder / variant.name, folder / f"{variant.name}.yaml"
    wanted = yaml.safe_dump(document(variant), sort_keys=False)
    if not (output / "report.json").is_file() or not job.is_file() or job.read_text() != wanted:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(output, ignore_errors=True)
        job.write_text(wanted)
        command = [sys.executable, "-m", "finetune.cli", "run", str(job), "--claim", claim, "--output", str(output)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for name in ("checkpoints", "model"):
        shutil.rmtree(output / name, ignore_errors=True)
    return outcome_of(json.loads((output / "report.json").read_text()), (output / "predictions.jsonl").read_text().splitlines())


def document(variant: Variant) -> dict[str, Any]:
    """Return the whole job of a variant."""
    return {"apiVersion": "finetune.dev/v1alpha1", "kind": "FineTuneJob", "metadata": {"name": variant.name}, "spec": variant.job}


def outcome_of(report: Mapping[str, Any], predictions: Sequence[str]) -> Outcome:
    """Return the outcome that a run's report and predictions hold."""
    figure, lines = report["final"]["accuracy"], [json.loads(line) for line in predictions]
    ends = figure.get("interval")
    interval = (100 * ends[0], 100 * ends[1]) if ends else None
    return Outcome(100 * figure["value"], interval, [line["tuned"] == line["labels"] for line in lines], report["training"]["seconds"])


def table_of(study: str, outcomes: Sequence[tuple[Variant, Outcome]]) -> str:
    """Return the table of a study; where columns are seeds, with the mean difference from the first row."""
    cells: dict[str, dict[str, str]] = {}
    for variant, outcome in outcomes:
        cells.setdefault(variant.row, {})[variant.column] = outcome.shown
    if study != "augmentation":
        return markdown("accuracy %, training rows", cells)
    runs: dict[str, list[Outcome]] = {}
    for variant, outcome in outcomes:
        runs.setdefault(variant.row, []).append(outcome)
    first = next(iter(runs))
    for row in runs:
        found = mean_difference(runs[row], runs[first])
        cells[row] |= {} if row == first else {"difference, mean": found.shown, "of each seed": found.seeds_shown}
    return markdown("accuracy %", cells)


def to_wire(variant: Variant, outcome: Outcome) -> dict[str, Any]:
    """Return the figures of a run as in the file of results."""
    interval = list(outcome.interval) if outcome.interval else None
    return {
        "row": variant.row, "column": variant.column, "metric": "accuracy", "value": outcome.value, "interval": interval,
        "testRows": len(outcome.right), "trainingSeconds": round(outcome.seconds, 1),
    }  # fmt: skip


if __name__ == "__main__":
    main()
