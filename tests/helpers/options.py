"""Arguments of tests."""

QUIET = {"progressbar": False, "random_seed": 1}
