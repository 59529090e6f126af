"""Tries to reach destinations from where user code runs and reports what answers."""
