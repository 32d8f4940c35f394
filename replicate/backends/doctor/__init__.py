"""Doctor: whether a cluster can do what a profile asks of it. Queues nothing but one small job."""
