"""The operator's surface: what is in the registry, and what every server on it should do about it."""
