"""adnet-web: a page on this machine to denoise with and to look at the result.

Start with `desk`, where orders wait for the one worker. `store` keeps a visitor's files for as long
as the visit lasts, `work` carries an order out through the same denoiser and job loop as adnet-run,
`facts` measures and draws what came of it, `server` speaks HTTP, `offers` lists models and devices.
The page is in site/.
"""
