"""`vico loadtest`: load a ViCo server by a plan made ahead, and say what its users would see (extra `loadtest`).

`plan` draws who asks for what and when, as plain data; `worker` processes send it and write one line per request as it
ends; `summary` and `report` read those lines, so that a report can be made again from them at any time.
"""
