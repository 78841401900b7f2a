"""Training on the architecture of Stable Diffusion 1.5, with random weights: does it fit, and does it resume."""
