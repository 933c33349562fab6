"""What a run reports: progress, figures, report.json and the table printed from it. Tests: tests/trainer/reporting/."""
