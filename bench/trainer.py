"""`make bench`: finetune run beside a bare torch loop, Hugging Face's Trainer and TRL's SFTTrainer, doing the same.

Same model, rows, order, settings, threads and niceness. Runs are interleaved, and a run that saw other tokens than ours, or had
another loss, ends the bench. Writes bench/results/trainer.json, what it was measured on beside it, and the table in
docs/figures.md. Tests: tests/bench/test_trainer.py, tests/bench/test_comparison.py.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from bench.comparison import DisagreementError, entries_of, regressions, table_of, unmeasured
from bench.processes import RunFailedError
from bench.runs import Bench, run_all
from bench.scenarios import QUICK, ROOT, SCENARIOS, WHOLE, Scenario, programs, references_here
from bench.surroundings import machine

RESULTS = ROOT / "bench" / "results" / "trainer.json"
SURROUNDINGS = RESULTS.with_name("trainer-machine.json")
DOCUMENT = ROOT / "docs" / "figures.md"
BEGIN, END = "<!-- table of bench/results/trainer.json -->\n", "<!-- end of the table -->\n"
OUTPUT = ROOT / "runs" / "bench"
REPEATS = 3
MINUTES = 33
"""A repeat that would not be over by then is left out: so a slower machine measures less often, not longer."""
QUIET_LOAD = 0.5
"""Load average per core above which a warning is printed: another process has that much of each core."""


def chosen(names: Sequence[str] | None) -> Iterator[Scenario]:
    """Yield the scenarios of these names, all when none is given; SystemExit for an unknown one."""
    known = {scenario.name: scenario for scenario in SCENARIOS}
    for name in names or known:
        if name not in known:
            raise SystemExit(f"--only {name}: there are {', '.join(known)}")
        yield known[name]


def with_table(document: str, table: str) -> str:
    """Return a Markdown document with another table between the two marks; ValueError without them."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError("the marks of the table are missing")
    return f"{before}{begin}\n{table}\n{end}{after}"


def caption(surroundings: dict[str, Any], repeats: int) -> str:
    """Return the sentence above the table."""
    loads = [record["load"] for record in surroundings["runs"]]
    what = "One run of each program" if repeats == 1 else f"The best of {repeats} interleaved runs of each program"
    return (
        f"{surroundings['processor']}, {surroundings['cores']} cores, {surroundings['date']}, commit {surroundings['commit']}; "
        f"load average {min(loads):.1f} to {max(loads):.1f} when runs began. {what}; "
        "in parentheses how many times as good `finetune run` is (above 1: better).\n\n"
    )


def write_results(entries: list[dict[str, Any]], surroundings: dict[str, Any], repeats: int) -> None:
    """Write the files that are committed."""
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(entries, indent=1) + "\n")
    SURROUNDINGS.write_text(json.dumps(surroundings, indent=1) + "\n")
    DOCUMENT.write_text(with_table(DOCUMENT.read_text(), caption(surroundings, repeats) + table_of(entries)))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="python -m bench.trainer", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rows, one repeat: shows that everything works, and writes no results")
    parser.add_argument("--only", action="append", metavar="NAME", help="a scenario, such as 'LoRA packed'; writes no results. Repeatable")
    parser.add_argument("--check", action="store_true", help="compare with the committed ratios instead of writing new ones")
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"time in which all repeats are to end (default {MINUTES})")
    parser.add_argument("--repeats", type=int, help=f"runs of each program (default {REPEATS})")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench; 1 when a run failed, when programs did not compute the same, or when `--check` found a regression or a gap."""
    options = parse(arguments)
    scenarios, cores = list(chosen(options.only)), len(os.sched_getaffinity(0))
    if options.check and not RESULTS.is_file():
        print(f"{RESULTS.relative_to(ROOT)} does not exist: run `make bench` first", file=sys.stderr)
        return 1
    references, missing = references_here()
    print(*missing, sep="\n", end="\n" if missing else "")
    if os.getloadavg()[0] > QUIET_LOAD * cores:
        print(f"load average {os.getloadavg()[0]:.1f}: other work on this machine distorts the figures", file=sys.stderr)
    repeats = options.repeats or (1 if options.quick else REPEATS)
    surroundings = machine(ROOT) | {"missing": missing}
    try:
        bench = Bench(QUICK if options.quick else WHOLE, OUTPUT, references, cores)
        found, records = run_all(bench, scenarios, programs(references), repeats, OUTPUT / "runs.jsonl", 60 * options.minutes)
    except (RunFailedError, DisagreementError) as error:
        print(error, file=sys.stderr)
        return 1
    entries = [entry.to_wire() for name, runs in found.items() for entry in entries_of(name, runs)]
    print(f"\n{table_of(entries)}")
    surroundings |= {"runs": records}
    (OUTPUT / "trainer.json").write_text(json.dumps({"entries": entries, **surroundings}, indent=1))
    if options.check:
        committed = json.loads(RESULTS.read_text())
        worse = regressions(entries, committed) + unmeasured(entries, committed, [scenario.name for scenario in scenarios])
        print(*(worse or ["no ratio is more than 10 % below the committed one"]), sep="\n")
        return 1 if worse else 0
    if not (options.quick or options.only):
        write_results(entries, surroundings, max(record["repeat"] for record in records))
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the program that is measured ends too
    sys.exit(main())
