"""Hypothesis without deadlines: a slow machine is not a failure."""

from hypothesis import settings

settings.register_profile("shotwise", deadline=None)
settings.load_profile("shotwise")
