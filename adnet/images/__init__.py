"""Images: reading and writing files, noise, and how good a result is. NumPy and Pillow only.

Start with `image` (files to arrays and back); `scan` finds them in folders, `formats/` knows each
kind of file. `noise` makes the published test noise, `metrics` defines PSNR and SSIM, `evaluate`
measures a denoiser with both, `synthetic` and `scenes` render pictures.
"""
