"""How many streams there may be."""

MAX_STREAMS = 96
"""At once: each waits in one thread of the stage's process, and in one of Triton's."""
