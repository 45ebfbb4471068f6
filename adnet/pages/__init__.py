"""What the pages that people look at share: style, before and after under a slider, samples.

Start with `assets`: the files in assets/ are put inside the reports of adnet-bench and adnet-train,
copied beside the live page by adnet-export web, and served by adnet-web, so that all draw alike.
`document` writes pages of one file, `curve` draws without matplotlib, `samples` makes pictures to
try a denoiser with.
"""
