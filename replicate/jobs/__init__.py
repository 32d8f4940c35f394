"""Jobs: one module for each kind of job, found by its name; what they compute, cost and are called."""
