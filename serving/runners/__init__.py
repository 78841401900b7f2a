"""Runners: one graph on one device, one file per runtime. No logic of the loop, no torch."""
