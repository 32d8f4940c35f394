"""Judge: stored results to finished tables, with a verdict for each number and claim. No torch."""
