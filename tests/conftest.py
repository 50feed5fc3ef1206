"""What all tests share."""

from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # machines are shared and noisy: no test fails by the clock
settings.load_profile("untimed")
