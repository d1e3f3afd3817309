"""One hypothesis profile: the same examples on every run, so that a failure in CI is a failure on the desk.

To be imported before the tests that it is for: ``@settings`` takes the rest from the profile of that moment.
"""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "ebpflb",
    derandomize=True,
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ebpflb")
