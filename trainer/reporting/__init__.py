"""What a run says of itself: progress, figures, report."""
