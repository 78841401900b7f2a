"""What a step costs: our denoiser beside plain Stable Diffusion and beside two-stream ViCo, in one interleaved run."""
