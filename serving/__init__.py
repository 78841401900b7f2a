"""What runs inside Triton, and what starts Triton. Free of torch: imports `vico.concept` and `vico.sampling` only."""
