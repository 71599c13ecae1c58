"""Command-line clients of a running service: `metagait enroll` and `metagait identify`."""
