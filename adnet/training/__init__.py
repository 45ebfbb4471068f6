"""Training: from images to a checkpoint, on one device or many.

Read in this order: `config` (what decides a run), `train` (the loop), `learner` (one step),
`data` and `patches` (what a step sees), `guard` and `precision` (half precision and runaway
losses), `world` and `launch` (several workers), `run_directory` (what is written), `progress`
(what is said), `command` (the line that repeats a run). A new option is a field of TrainConfig:
`options` makes its name and help of it, `field_options` what typer needs.
"""
