"""`make bench-controller`: runs the parts, prints the table, and writes the files that are committed.

Test: tests/bench/controller/test_program.py.
"""

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from bench.controller import atrest, phases, results
from bench.controller.cluster import TooSlowError
from bench.scenarios import ROOT
from bench.surroundings import machine

RESULTS = ROOT / "bench" / "results" / "controller.json"
SURROUNDINGS = RESULTS.with_name("controller-machine.json")
DOCUMENT, README = ROOT / "docs" / "figures.md", ROOT / "README.md"
BEGIN, END = "<!-- table of bench/results/controller.json -->\n", "<!-- end of the controller's table -->\n"
OUTPUT = ROOT / "runs" / "bench-controller"
WHOLE = phases.Sizes(jobs=1000, at_rest=5000, reports_seconds=60, rest_seconds=60)
QUICK = phases.Sizes(jobs=50, at_rest=100, reports_seconds=20, rest_seconds=10)


def with_table(document: str, table: str) -> str:
    """Return a Markdown document with another table between the two marks; ValueError without them."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError("the marks of the table are missing")
    return f"{before}{begin}\n{table}\n{end}{after}"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="python -m bench.controller", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few jobs: shows that everything works, and writes no results")
    parser.add_argument("--jobs", type=int, help=f"jobs that are created at once and then run (default {WHOLE.jobs})")
    parser.add_argument("--at-rest", type=int, help=f"jobs that have ended or wait (default {WHOLE.at_rest})")
    parser.add_argument("--part", choices=["burst", "rest"], help="measure this part only, and take the other one from the last run")
    parser.add_argument("--write", action="store_true", help="write the results although other numbers of jobs are given")
    return parser.parse_args(arguments)


def sizes_of(options: argparse.Namespace) -> phases.Sizes:
    """Return how much is to be measured."""
    given = {name: value for name in ("jobs", "at_rest") if (value := getattr(options, name)) is not None}
    return dataclasses.replace(QUICK if options.quick else WHOLE, **given)


KINDS: dict[str, tuple[type, ...]] = {"burst": (phases.Burst, phases.Burst, phases.Reports), "rest": (atrest.Rest, atrest.Rest)}


def _measured(name: str, part: str | None, measure: Callable[[], tuple[Any, ...]], loads: list[float]) -> tuple[Any, ...]:
    """Return what a part gives: measured, or as it was when another part alone is measured. It is kept for that."""
    kept = OUTPUT / f"{name}.json"
    if part in (None, name):
        load = round(os.getloadavg()[0], 2)
        values = measure()
        kept.write_text(json.dumps({"load": load, "values": [dataclasses.asdict(value) for value in values]}))
    before = json.loads(kept.read_text())
    loads.append(before["load"])
    return tuple(kind(**fields) for kind, fields in zip(KINDS[name], before["values"], strict=True))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench; 1 when something did not happen in time."""
    options = parse(arguments)
    sizes, loads = sizes_of(options), list[float]()
    OUTPUT.mkdir(parents=True, exist_ok=True)
    surroundings: dict[str, Any] = machine(ROOT)
    try:
        ours, kuberay, reports = _measured("burst", options.part, lambda: phases.burst(OUTPUT, sizes), loads)
        for name, each in (("ours", ours), ("KubeRay's operator", kuberay)):
            print(f"{name}: {phases.describe(each.requests)}", flush=True)
        rest, kuberay_rest = _measured("rest", options.part, lambda: atrest.rest(OUTPUT, sizes), loads)
        for name, each in (("ours", rest), ("KubeRay's operator", kuberay_rest)):
            print(f"{name} at rest: {phases.describe(each.requests)}")
    except TooSlowError as error:
        print(f"{error}; the controller's log is {OUTPUT.relative_to(ROOT)}/controller.log", file=sys.stderr)
        return 1
    entries = results.entries_of(ours, kuberay, reports, rest, kuberay_rest)
    surroundings |= {"loads": loads, "requests": {"ours": ours.requests, "reference": kuberay.requests}}
    table = results.caption(surroundings) + results.table_of(entries)
    print(f"\n{table}")
    if options.write or not (options.quick or options.jobs or options.at_rest or options.part):
        RESULTS.write_text(json.dumps(entries, indent=1) + "\n")
        SURROUNDINGS.write_text(json.dumps(surroundings, indent=1) + "\n")
        DOCUMENT.write_text(with_table(DOCUMENT.read_text(), table))
        README.write_text(with_table(README.read_text(), results.short_table_of(entries)))
    return 0
