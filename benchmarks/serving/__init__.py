"""What the server gives and costs, measured against the real one: `python -m benchmarks.serving`."""
