"""Safety checkers that the tests have run in processes of their own: good ones, and bad ones."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Pictures = npt.NDArray[np.uint8]
Facts = Mapping[str, object]


def by_prompt(pictures: Pictures, facts: Facts) -> Sequence[str]:
    """`refuse 1 blur 0` in the prompt: what is said of the pictures of these numbers; anything else is allowed."""
    words = str(facts["prompt"]).split()
    said = {int(number): word for word, number in pairwise(words) if number.isdigit()}
    first = int(str(facts["first_image"]))
    return [said.get(first + index, "allow") for index in range(len(pictures))]


def by_kind(pictures: Pictures, facts: Facts) -> Sequence[str]:
    """The prompt names the kind of picture that is refused."""
    return ["refuse" if str(facts["kind"]) in str(facts["prompt"]) else "allow"] * len(pictures)


def by_brightness(pictures: Pictures, facts: Facts) -> Sequence[str]:
    """Looks at the pixels: those that are bright are refused."""
    return ["refuse" if picture.mean() > 128 else "allow" for picture in pictures]


def misbehave(pictures: Pictures, facts: Facts) -> Sequence[str]:
    """Does what the prompt says."""
    print("a checker may print")
    match str(facts["prompt"]):
        case "raise":
            raise ValueError("secret words")
        case "exit":
            sys.exit(3)
        case "die":
            os.abort()
        case "hang":
            time.sleep(600)
        case "short":
            return ["allow"] * (len(pictures) - 1)
        case "odd":
            return ["perhaps"] * len(pictures)
        case "nothing":
            return None  # type: ignore[return-value]
        case "environment":
            return ["refuse" if "VICO_SERVING" in os.environ else "allow"] * len(pictures)
        case "close":
            os.closerange(0, 64)
    return ["allow"] * len(pictures)


NOT_A_FUNCTION = 3
