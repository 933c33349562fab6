"""Studies: jobs that differ in one thing, run one after the other, their figures in one table. Tests: tests/bench/studies/."""
