"""Model file and image in, image out; adnet-run.

Start with `denoiser` (arrays in, arrays out); `folder` runs it over many files, `tiling` cuts large
images, `registry` opens a `backend`, and `backends/` holds those that come with the package.
"""
