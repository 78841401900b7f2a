"""The ViCo method (arXiv 2306.00971): personalised text-to-image on a frozen Stable Diffusion 1.x base."""
