"""Pandapower nets: read safely, checked, their limits, labels, series and what can be switched."""
