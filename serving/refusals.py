"""What a client is told when the loop does not make its pictures."""

from __future__ import annotations

import math

from serving.errors import ConceptRefused, DeadlineExceeded, Overloaded, ServingError
from serving.scheduling.admission import Refusal


def overloaded(refusal: Refusal, pictures: int, left: float) -> Overloaded:
    """The refusal of a request of so many pictures, whose deadline is `left` seconds from now."""
    if refusal.reason == "deadline":
        # rounded up, so that whoever takes the number at its word is let in
        earliest = math.ceil(refusal.earliest * 100) / 100
        problem = f"{max(left, 0.0):.2f} s, and the earliest this can be done is {earliest:.2f} s from now"
        return Overloaded("timeout", problem, f"at least {earliest:.2f} s, or the same request later")
    own = refusal.reason == "client_queue_full"
    whose, when = (" of this client", "when earlier ones are done") if own else ("", "later")
    problem = f"{pictures} pictures, and the queue has room for {refusal.room}{whose}"
    return Overloaded("num_images", problem, f"fewer, or the same request {when}")


def unreachable(left: float) -> DeadlineExceeded:
    """The end of a request that was let in and cannot be done in the `left` seconds any more."""
    problem = f"{max(left, 0.0):.2f} s are left, which the rest of the steps would exceed"
    return DeadlineExceeded("timeout", problem, "a longer one")


def beyond_numbers(of_concept: bool) -> ServingError:
    """The end of a picture whose latent is not finite: decoded, it would be black and pass for one."""
    if of_concept:
        problem = "its numbers grew beyond all bounds in this picture"
        return ConceptRefused("concept", problem, "another version of it, or a smaller image_guidance")
    return ServingError("request", "its numbers grew beyond all bounds", "another seed, sampler or guidance_scale")
