"""From what was measured to the entries of bench/results/controller.json and the table in docs/figures.md.

Pure. Test: tests/bench/controller/test_results.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.comparison import figure, ratio_of
from bench.controller.atrest import Rest
from bench.controller.phases import Burst, Reports

MEGABYTE = 10**6

Entry = dict[str, Any]


def entry(name: str, unit: str, ours: float, reference: float | None = None, *, higher_is_better: bool = False) -> Entry:
    """Return an entry as it is in the JSON file; above 1 the ratio says that ours is better."""
    ratio = None
    if reference is not None and ours > 0 and reference > 0:
        ratio = round(ratio_of(ours, reference, higher_is_better=higher_is_better), 3)
    rounded = None if reference is None else round(reference, 3)
    return {"name": name, "unit": unit, "ours": round(ours, 3), "reference": rounded, "ratio": ratio}


def entries_of(ours: Burst, kuberay: Burst, reports: Reports, rest: Rest, kuberay_rest: Rest) -> list[Entry]:
    """Return all entries; the reference is KubeRay's operator, from RayJob to RayCluster, and with the RayJobs of the finished jobs."""
    both = f"{ours.jobs:,} jobs at once"
    running = f"{reports.jobs:,} running jobs"
    resting = f"{rest.jobs:,} jobs at rest"
    return [
        entry(f"{both}: time to the child, p50", "s", ours.quantile(0.5), kuberay.quantile(0.5)),
        entry(f"{both}: time to the child, p99", "s", ours.quantile(0.99), kuberay.quantile(0.99)),
        entry(f"{both}: API requests a job", "requests", ours.requests_per_job, kuberay.requests_per_job),
        entry(f"{both}: processor time a job", "ms", 1000 * ours.cpu_seconds / ours.jobs, 1000 * kuberay.cpu_seconds / kuberay.jobs),
        entry(
            f"{both}: processor time of the API server", "CPU-s", ours.server_cpu_seconds, kuberay.server_cpu_seconds,
        ),
        entry(f"{both}: peak memory", "MB", ours.peak_bytes / MEGABYTE, kuberay.peak_bytes / MEGABYTE),
        entry(f"{running}: reports", "1/s", reports.reported / reports.seconds),
        entry(f"{running}: status writes", "1/s", reports.writes / reports.seconds),
        entry(f"{running}: keys waiting at most", "keys", reports.waiting_most),
        entry(f"{running}: keys waiting at the end", "keys", reports.waiting_end),
        entry(f"{running}: share of a core", "%", 100 * reports.cpu_seconds / reports.seconds),
        entry(f"{running}: peak memory", "MB", reports.peak_bytes / MEGABYTE),
        entry(f"{resting}: caught up after a restart", "s", rest.caught_up_seconds or 0.0),
        entry(f"{resting}: processor time to catch up", "CPU-s", rest.caught_up_cpu_seconds, kuberay_rest.caught_up_cpu_seconds),
        entry(f"{resting}: API requests", "1/s", *(sum(each.requests.values()) / each.seconds for each in (rest, kuberay_rest))),
        entry(f"{resting}: API requests for the lease", "1/s", rest.leases / rest.seconds),
        entry(f"{resting}: share of a core", "%", *(100 * each.cpu_seconds / each.seconds for each in (rest, kuberay_rest))),
        entry(f"{resting}: peak memory", "MB", rest.peak_bytes / MEGABYTE, kuberay_rest.peak_bytes / MEGABYTE),
    ]  # fmt: skip


def table_of(entries: Sequence[Mapping[str, Any]]) -> str:
    """Return the entries as a table in Markdown."""
    rows = [["", "unit", "ours", "KubeRay's operator", "ratio"], ["---", "---", "---:", "---:", "---:"]]
    for each in entries:
        reference = "" if each["reference"] is None else figure(each["reference"])
        ratio = "" if each["ratio"] is None else f"{each['ratio']:.2f}"
        rows.append([each["name"], each["unit"], figure(each["ours"]), reference, ratio])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def caption(surroundings: Mapping[str, Any]) -> str:
    """Return the sentence above the table."""
    loads = surroundings["loads"]
    return (
        f"{surroundings['processor']}, {surroundings['cores']} cores, shared with API server, etcd and the bench itself; "
        f"{surroundings['date']}, commit {surroundings['commit']}; load average {min(loads):.1f} to {max(loads):.1f} when parts began. "
        "One run. Jobs that are created at once come beside as many at rest as make the number of the second part. At rest KubeRay's "
        "operator has the RayJobs of the jobs that have finished, four of five. The child is a job's RayJob, and for KubeRay's operator a "
        "RayJob's RayCluster; requests are those of the operator "
        "without watches and lease until all children exist, ours until the last job has settled. "
        "Above 1 a ratio says that ours is better.\n\n"
    )


SHORT = (
    "time to the child, p50",
    "time to the child, p99",
    "API requests a job",
    "processor time a job",
    "at once: peak memory",
    "status writes",
    "caught up after a restart",
    "at rest: API requests",
    "share of a core",
)
"""Ends of the names of the entries that the README has."""


def short_table_of(entries: Sequence[Mapping[str, Any]]) -> str:
    """Return the entries that most readers want as a table in Markdown."""
    return table_of([each for each in entries if each["name"].endswith(SHORT)])
