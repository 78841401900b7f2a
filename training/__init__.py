"""Training: from photos to concept packages, and the toy base that they are tried on."""
