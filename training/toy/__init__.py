"""The toy base: a small Stable-Diffusion-1.x model of a small world, and the commands that make it."""
