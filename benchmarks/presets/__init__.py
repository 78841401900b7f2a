"""What each preset costs and what it leaves of the picture: `python -m benchmarks.presets`."""
