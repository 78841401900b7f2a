"""From a base to the graphs that serving runs, and a Triton model repository around them."""
