"""Methods of personalisation side by side: same photos, same prompts, same time. `python -m benchmarks.quality`."""
