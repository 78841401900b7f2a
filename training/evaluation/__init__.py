"""How good a concept is: pictures over a fixed suite of prompts, scored beside a floor and a ceiling."""
