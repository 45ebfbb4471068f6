"""What the pages that people look at share: style, before and after under a slider, samples.

Start with `assets`: the files in assets/ are put inside the benchmark's report, copied beside the
live page by `adnet-export web`, and served by `adnet-web`, so all three draw alike. `samples` makes
the pictures to try them with.
"""
