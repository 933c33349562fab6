"""From the figures of interleaved runs to ratios, to regressions, and to a table. Pure. Test: tests/bench/test_comparison.py."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Protocol, TypeVar

from bench.figures import Figures

OURS = "finetune run"
TOLERANCE = 0.10
"""A ratio may be this much lower than the committed one before it counts as a regression: repeats on a quiet machine differ by less."""
FIRST_LOSS, LATER_LOSSES = 1e-3, 0.1
"""How far losses may be apart. In the first step adapters change nothing yet, so dropout has no effect; later each program draws
other random numbers for it. Without dropout all steps agree (tests/bench/test_references.py)."""

P = TypeVar("P")
S = TypeVar("S")


@dataclass(frozen=True)
class Quantity:
    """A figure that is compared."""

    name: str
    unit: str
    of: Callable[[Figures], float]
    higher_is_better: bool = False


QUANTITIES = (
    Quantity("tokens per second", "tokens/s", lambda run: run.tokens_per_second, higher_is_better=True),
    Quantity("start to first step", "s", lambda run: run.start_to_first_step_seconds),
    Quantity("peak memory of all processes", "GiB", lambda run: run.peak_memory_bytes / 2**30),
    Quantity("processor time of the whole run", "CPU-s", lambda run: run.cpu_seconds),
)


@dataclass(frozen=True)
class Entry:
    """One figure of ours beside that of a reference: the best of the repeats, with the median beside it."""

    name: str
    unit: str
    ours: float
    reference: float
    ratio: float
    """Above 1 ours is better, whatever the figure's direction."""
    repeats: int
    ours_median: float
    reference_median: float

    def to_wire(self) -> dict[str, Any]:
        """Return the entry as it is in the JSON file."""
        wire: dict[str, Any] = {"name": self.name, "unit": self.unit, "ours": self.ours, "reference": self.reference}
        wire |= {"ratio": self.ratio, "repeats": self.repeats}
        wire |= {"oursMedian": self.ours_median, "referenceMedian": self.reference_median}
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in wire.items()}


class Trained(Protocol):
    """What a run computed."""

    @property
    def name(self) -> str:
        """What it is called in messages."""

    @property
    def tokens(self) -> tuple[int, ...]:
        """Tokens of each step, without padding."""

    @property
    def losses(self) -> tuple[float, ...]:
        """Mean loss of each step."""


class DisagreementError(Exception):
    """Programs that were to compute the same did not: their figures cannot be compared."""


def interleaved(scenarios: Sequence[S], programs: Sequence[P], repeats: int) -> Iterator[tuple[int, S, P]]:
    """Yield (repeat, scenario, program): programs follow each other directly, so that what drifts on the machine meets all of them."""
    for repeat in range(repeats):
        for scenario in scenarios:
            for program in programs:
                yield repeat, scenario, program


def ratio_of(ours: float, reference: float, *, higher_is_better: bool) -> float:
    """Return how many times as good ours is."""
    return ours / reference if higher_is_better else reference / ours


def entries_of(scenario: str, runs: Mapping[str, Sequence[Figures]]) -> list[Entry]:
    """Return an entry for each figure and reference of a scenario; `runs` are the repeats of each program, ours among them."""
    entries = []
    for reference in (name for name in runs if name != OURS):
        for quantity in QUANTITIES:
            choose = max if quantity.higher_is_better else min
            ours, theirs = ([quantity.of(run) for run in runs[name]] for name in (OURS, reference))
            best = choose(ours), choose(theirs)
            entries.append(
                Entry(
                    name=f"{scenario}: {quantity.name} vs {reference}",
                    unit=quantity.unit,
                    ours=best[0],
                    reference=best[1],
                    ratio=ratio_of(*best, higher_is_better=quantity.higher_is_better),
                    repeats=len(ours),
                    ours_median=median(ours),
                    reference_median=median(theirs),
                )
            )
    return entries


def check_agreement(runs: Iterable[Trained], first: float = FIRST_LOSS, later: float = LATER_LOSSES) -> None:
    """Raise DisagreementError unless all runs saw as many tokens in each step and had the same losses, within relative tolerances."""
    expected, *others = runs
    for other in others:
        if other.tokens != expected.tokens:
            raise DisagreementError(f"tokens of each step differ: {expected.name} {expected.tokens}, {other.name} {other.tokens}")
        for step, (ours, theirs) in enumerate(zip(expected.losses, other.losses, strict=True), start=1):
            if abs(ours - theirs) > (first if step == 1 else later) * abs(ours):
                raise DisagreementError(f"losses of step {step} differ: {expected.name} {ours:.6f}, {other.name} {theirs:.6f}")


def regressions(new: Iterable[Mapping[str, Any]], committed: Iterable[Mapping[str, Any]], tolerance: float = TOLERANCE) -> list[str]:
    """Return what got worse than the committed ratios, one line each; an entry that was never committed cannot be worse."""
    known = {entry["name"]: float(entry["ratio"]) for entry in committed}
    return [
        f"{entry['name']}: ratio {entry['ratio']:.3f}, committed {known[entry['name']]:.3f}"
        for entry in new
        if entry["name"] in known and float(entry["ratio"]) < known[entry["name"]] * (1 - tolerance)
    ]


def unmeasured(new: Iterable[Mapping[str, Any]], committed: Iterable[Mapping[str, Any]], scenarios: Iterable[str]) -> list[str]:
    """Return the committed entries of these scenarios that were not measured, one line each: they may have got worse unseen."""
    measured, wanted = {entry["name"] for entry in new}, set(scenarios)
    missing = (entry["name"] for entry in committed if entry["name"] not in measured)
    return [f"{name}: committed, but not measured" for name in missing if scenario_of(name) in wanted]


def scenario_of(entry: str) -> str:
    """Return the scenario in the name of an entry."""
    return entry.partition(": ")[0]


def table_of(entries: Sequence[Mapping[str, Any]]) -> str:
    """Return a table in Markdown: a line for each scenario and figure, a column for each reference with ours' ratio to it."""
    lines: dict[str, dict[str, Mapping[str, Any]]] = {}
    for entry in entries:
        what, _, reference = entry["name"].partition(" vs ")
        lines.setdefault(what, {})[reference] = entry
    references = list(dict.fromkeys(reference for line in lines.values() for reference in line))
    rows = [["", "unit", OURS, *references], ["---", "---", *["---:"] * (1 + len(references))]]
    for what, line in lines.items():
        some = next(iter(line.values()))
        cells = [f"{figure(line[name]['reference'])} ({line[name]['ratio']:.2f})" if name in line else "" for name in references]
        rows.append([what, some["unit"], figure(some["ours"]), *cells])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def figure(value: float) -> str:
    """Return a figure with three digits or more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
