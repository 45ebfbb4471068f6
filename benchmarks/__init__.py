"""Numbers and how they were made; adnet-bench.

Start with `measure` (one run); `candidates` are what is measured, `speed`, `quality` and `scaling`
measure them, `results` is what they found (`results_json` the file, `report` the page). `peers/`
are other engines, `release/` puts weights and their page together, `studies/` answer one question
each.
"""
