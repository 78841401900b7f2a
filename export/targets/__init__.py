"""One exported graph, and the form in which each target runs it best: rewriting passes, one file each."""
