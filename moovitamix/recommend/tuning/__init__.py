"""Tuning: the search for a configuration, on a window before the one the gate judges by."""
