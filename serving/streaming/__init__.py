"""Streams: how far a request is, shown while it is under way."""
