"""Rule matching, verdicts and run ids: pure functions over small records. The hour's read."""
