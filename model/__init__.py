"""Learns and runs the gait network."""
