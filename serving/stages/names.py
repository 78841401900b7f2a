"""Names that the processes around the stages need too, without what the stages import."""

LOOP = "unet_loop"
NESTED = "nested"
"""Parameter of a request whose refusal travels without its status: the message is to say it."""
CONTROL = "control"
"""Input by which front door and supervisor speak to the loop by itself: sealed JSON `{"cancel": call}`,
`{"all": "cancelled"}`, `{"wanted": call}` or `{}`."""
LOOP_REPORT = "unet_loop_report"
DECODER = "vae_decoder"
DECODER_REPORT = "vae_decoder_report"
EARLIER = ("text_encoder", "image_encoder", LOOP)
"""The stages before the decoder, in their order; each hands on `<stage>_report`."""
STREAMS = "picture_stream"
