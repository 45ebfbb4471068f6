"""A model repository for the Triton inference server: adnet-export triton.

Start with `repository`, which writes it; `config` is Triton's config.pbtxt, `pages` what people
read. `image_model` and `tiles_client` are copied into the repository and run elsewhere: the one by
Triton's Python backend, the other by whoever calls the server. `command` is the command line.
"""
