"""Images of any size, read, denoised and written chunk by chunk; `run` is the place to start."""
