"""Names that the processes around the stages need too, without what the stages import."""

LOOP = "unet_loop"
CONTROL = "control"
"""Input by which front door and supervisor speak to the loop by itself: sealed JSON `{"cancel": call}`,
`{"all": "cancelled"}` or `{}`."""
LOOP_REPORT = "unet_loop_report"
