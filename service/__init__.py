"""Speaks HTTP: uploads in, names out. Start it with `metagait serve`."""
