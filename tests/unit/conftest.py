"""Hypothesis tries the same examples each time, so that what was green stays so; SERIN_RANDOM=1 looks for new ones."""

import os

from hypothesis import settings

settings.register_profile("the same each time", derandomize=True)
if os.environ.get("SERIN_RANDOM") != "1":
    settings.load_profile("the same each time")
