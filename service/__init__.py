"""The HTTP service: walks in, names out. `metagait serve` starts it, `service.app` builds it."""
