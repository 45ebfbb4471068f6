"""adnet-run --cluster: one job over many machines, with Ray Data; `run` is the place to start."""
