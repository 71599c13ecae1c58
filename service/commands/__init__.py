"""The service's commands: `enroll` and `identify` call a running one, `keys` manages API keys."""
