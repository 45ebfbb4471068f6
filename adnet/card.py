"""Where the model card was in 0.1.0; backends of other packages import it from here.

It lies in `adnet.models.card`; nothing in this project imports it from here.
"""

from adnet.models.card import *  # noqa: F403  (all that was here)
