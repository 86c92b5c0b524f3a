"""Hypothesis tries the same examples each time, so that what was green stays so; SERIN_RANDOM=1 looks for new ones.

It judges no test by its time: these run beside builds of images, and a busy machine is not a slow rule.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile("new ones", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("the same each time", settings.get_profile("new ones"), derandomize=True)
settings.load_profile("new ones" if os.environ.get("SERIN_RANDOM") == "1" else "the same each time")
