"""What becomes of a picture before a client gets it: checked, marked, encoded, signed."""
