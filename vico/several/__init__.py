"""Several concepts in one picture, each under a placeholder of its own and drawn where its word is."""

from vico.several.picture import generate_several, generate_several_latents
from vico.several.placing import Placing

__all__ = ["Placing", "generate_several", "generate_several_latents"]
