"""Command lines: `enroll` and `identify` call a running service, `keys` says who else may."""
