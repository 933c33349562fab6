"""What a run reports: progress, figures, report.json, the table."""
