"""The front door: the one place where a call is checked before any work, and the only one that clients reach."""
