"""Whether a request can be done in time, asked of the loop by the front door before anything is done for it.

The loop decides again when the request arrives there: what is let through here may still be refused, and where the
loop cannot be asked everything is let through.
"""
