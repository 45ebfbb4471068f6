"""An HTTP endpoint on Ray Serve; adnet-serve.

Start with `front`, which takes requests, and `worker`, which denoises; `asking`, `body` and
`limits` are what the front checks, `answers` what goes back, `metrics` what Prometheus is told.
`offer` names the models, `deploy` starts and ends it all; `environment` is set before.
"""
