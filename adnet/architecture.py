"""Where the network's numbers were in 0.1.0; backends of other packages import it from here.

It lies in `adnet.models.architecture`; nothing in this project imports it from here.
"""

from adnet.models.architecture import *  # noqa: F403  (all that was here)
