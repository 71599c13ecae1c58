"""Plots of models and trainings, drawn without a display (`metagait plot`)."""
