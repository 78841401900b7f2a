"""The server for as long as it takes ten thousand concepts to come and go: `python -m benchmarks.soak`."""
