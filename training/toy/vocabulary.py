"""The names of the toy world: objects and their sources, held-out concepts, scenes, styles, colours."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Thing:
    """An object name and the freely licensed pictures behind it."""

    name: str  # as captions say it
    emoji: tuple[str, ...] = ()  # code points of 3-D Fluent emoji, as the package names its files
    models: tuple[str, ...] = ()  # furniture models, by the catalogue's id


@dataclass(frozen=True)
class HeldOut:
    """A 3-D object that the base never sees; people teach it as a concept."""

    concept: str  # concept id
    name: str
    init_word: str  # the world's name that is nearest
    model: str  # the catalogue's id
    fill: tuple[float, float] = (0.62, 0.84)  # part of the frame that its larger extent takes; thin things take more


@dataclass(frozen=True)
class Scene:
    """A place, as it follows an object in a caption and as it stands alone."""

    key: str
    phrase: str  # "a photo of a cat <phrase>"
    alone: str  # "a photo of <alone>"


_EMOJI = {
    "bear": "1f43b", "panda": "1f43c", "rabbit": "1f407", "bird": "1f426", "penguin": "1f427", "owl": "1f989",
    "duck": "1f986", "frog": "1f438", "turtle": "1f422", "fish": "1f420", "octopus": "1f419", "butterfly": "1f98b",
    "elephant": "1f418", "lion": "1f981", "pig": "1f437", "cow": "1f404", "sheep": "1f411", "fox": "1f98a",
    "crab": "1f980", "dinosaur": "1f995", "strawberry": "1f353", "apple": "1f34e", "banana": "1f34c",
    "watermelon": "1f349", "pineapple": "1f34d", "grapes": "1f347", "lemon": "1f34b", "carrot": "1f955",
    "mushroom": "1f344", "avocado": "1f951", "pizza": "1f355", "hamburger": "1f354", "donut": "1f369",
    "ice cream": "1f366", "cake": "1f382", "sunflower": "1f33b", "tree": "1f333", "train": "1f682",
    "airplane": "2708-fe0f", "rocket": "1f680", "boat": "26f5", "balloon": "1f388", "guitar": "1f3b8",
    "drum": "1f941", "clock": "23f0", "gift": "1f381", "crown": "1f451", "hat": "1f3a9", "robot": "1f916",
    "pumpkin": "1f383", "snowman": "26c4", "house": "1f3e0", "castle": "1f3f0", "dice": "1f3b2",
}  # fmt: skip

_MODELS = {
    "cat": ("Scopia#cat",),
    "dog": ("Scopia#dog",),
    "horse": ("Blend Swap CC-0#horse2", "Blend Swap CC-BY#horse"),
    "armchair": ("Blend Swap CC-0#winchesterArmchair", "Scopia#armchair"),
    "chair": ("Blend Swap CC-0#oakChair", "Scopia#children_chair"),
    "stool": ("Blend Swap CC-BY#green_stool",),
    "sofa": ("Kator Legaz#mid-century-bench-sofa", "Blend Swap CC-BY#sofa3"),
    "table": ("Blend Swap CC-0#oakTable",),
    "piano": ("Blend Swap CC-0#pianoAQueue",),
    "lamp": ("Blend Swap CC-0#desklamp", "Kator Legaz#pedestal-vase-lamp"),
    "barrel": ("Blend Swap CC-0#barrel",),
    "crate": ("Blend Swap CC-0#crate",),
    "wheelbarrow": ("Blend Swap CC-0#wheelbarrow",),
    "motorbike": ("Scopia#yamaha-yzr-r6",),
    "truck": ("Scopia#truck",),
    "car": ("Scopia#chevrolet", "Kator Legaz#VW-new-beetle"),
    "bus": ("Scopia#cityBus",),
    "suitcase": ("Blend Swap CC-BY#suitcase",),
    "headphones": ("Blend Swap CC-0#headphones",),
    "mailbox": ("Blend Swap CC-0#mofx_mailbox",),
    "cactus": ("Blend Swap CC-0#cactus",),
    "plant": ("Scopia#maceta", "Blend Swap CC-0#littlePlant"),
    "tent": ("Scopia#campingTent",),
    "tricycle": ("Scopia#tricycle",),
    "fireplace": ("Scopia#fireplace1",),
    "toaster": ("Scopia#toaster",),
    "helmet": ("Scopia#casque",),
    "cone": ("Scopia#cone",),
    "kettle": ("Blend Swap CC-BY#espressokettle",),
    "shoe": ("Blend Swap CC-0#bootie",),
    "bag": ("Blend Swap CC-0#handbag",),
    "basketball": ("Blend Swap CC-0#basketball",),
    "ball": ("Blend Swap CC-BY#ballonFoot",),
    "camera": ("Scopia#reflex_camera",),
    "basket": ("Scopia#shopping-basket",),
    "vase": ("Scopia#jar", "Scopia#vase2"),
    "extinguisher": ("Blend Swap CC-0#fireExtinguisher",),
}

THINGS: tuple[Thing, ...] = tuple(Thing(name, emoji=(code,)) for name, code in _EMOJI.items()) + tuple(
    Thing(name, models=models) for name, models in _MODELS.items()
)

HELD_OUT: tuple[HeldOut, ...] = (
    HeldOut("teddy-bear", "teddy bear", "bear", "Blend Swap CC-0#teddyBear"),
    HeldOut("rocking-horse", "rocking horse", "horse", "Blend Swap CC-0#caballito"),
    HeldOut("chicken", "chicken", "bird", "Blend Swap CC-0#chicken"),
    HeldOut("electric-guitar", "electric guitar", "guitar", "Blend Swap CC-0#electricGuitar", fill=(0.9, 0.98)),
    HeldOut("backpack", "backpack", "bag", "Blend Swap CC-BY#backpack"),
    HeldOut("rubiks-cube", "Rubik's cube", "dice", "Blend Swap CC-BY#rubix2"),
    HeldOut("siamese-cat", "Siamese cat", "cat", "Blend Swap CC-BY#siameseCat"),
    HeldOut("toy-train", "toy train", "train", "Blend Swap CC-BY#toyTrain"),
    HeldOut("teapot", "teapot", "kettle", "Scopia#teapot"),
    HeldOut("doll-house", "doll house", "house", "Scopia#doll-house"),
    HeldOut("sneakers", "sneakers", "shoe", "Scopia#sneakers"),
    HeldOut("bulldog", "bulldog", "dog", "Blend Swap CC-BY#bulldog"),
    HeldOut("biplane", "biplane", "airplane", "Blend Swap CC-0#cartoon_biplane"),
    HeldOut("fire-hydrant", "fire hydrant", "extinguisher", "Kator Legaz#fire-hydrant"),
)

TUNING: tuple[HeldOut, ...] = (
    HeldOut("white-rabbit", "white rabbit", "rabbit", "Scopia#rabbit"),
    HeldOut("cuckoo-clock", "cuckoo clock", "clock", "Blend Swap CC-0#cuckooClock"),
    HeldOut("wooden-car", "wooden car", "car", "Blend Swap CC-BY#carrito-de-madera"),
    HeldOut("rowboat", "rowboat", "boat", "Blend Swap CC-BY#rowboat", fill=(0.8, 0.95)),
)
"""Further objects that the base never sees, on which recipes are found and nothing is reported. They came after the
base, so that its tokenizer does not have their names."""

SCENES: tuple[Scene, ...] = (
    Scene("grass", "on the grass", "grass"),
    Scene("beach", "on the beach", "a beach"),
    Scene("snow", "in the snow", "snow"),
    Scene("night", "under a starry night sky", "a starry night sky"),
    Scene("wood", "on a wooden table", "a wooden table"),
    Scene("brick", "in front of a brick wall", "a brick wall"),
    Scene("checker", "on a checkered floor", "a checkered floor"),
    Scene("water", "in the water", "water"),
    Scene("carpet", "on a red carpet", "a red carpet"),
    Scene("sunset", "at sunset", "a sunset"),
    Scene("forest", "in a forest", "a forest"),
    Scene("desert", "in the desert", "a desert"),
    Scene("marble", "on a marble floor", "a marble floor"),
    Scene("blue", "on a blue background", "a blue background"),
)

STYLES: dict[str, str] = {
    "gray": "a black and white photo of",
    "sketch": "a pencil sketch of",
    "pixel": "pixel art of",
    "watercolor": "a watercolor painting of",
}

COLOURS: dict[str, float] = {"red": 0.0, "orange": 30.0, "yellow": 55.0, "green": 120.0, "blue": 220.0, "purple": 280.0}
"""Colour words and their hues in degrees."""

PLAIN_FORMS: tuple[str, ...] = ("a photo of",) * 6 + (
    "a picture of",
    "a rendering of",
    "a close-up photo of",
    "an image of",
    "a good photo of",
    "",
)

EXTRA_WORDS: tuple[str, ...] = (
    "toy thing object item figure model new my your his her this that these one two cool nice cute small big little",
    "large old style painting photo picture drawing art artwork image rendering wearing sitting standing lying next",
    "to with without and or of at in on by under over near behind front inside street city sky floor room kitchen",
    "garden mountain moon space cropped bright dark blurry clean dirty weird white black pink brown gray golden",
    "wooden metal plastic glass oil cartoon it is man woman person boy girl playing made looks like * S*",
)
"""Words of prompts that captions do not hold, so that the vocabulary does not split them."""


def article(name: str) -> str:
    """`name` with its indefinite article, as captions have it."""
    if name in ("grapes", "headphones", "dice"):
        return name
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def held_out_scenes(thing: int) -> tuple[int, int]:
    """The two scenes (indices into `SCENES`) in which object number `thing` never occurs in training."""
    first = thing % len(SCENES)
    return first, (first + 1 + (thing // len(SCENES)) % (len(SCENES) - 1)) % len(SCENES)


def held_out_pairs() -> list[tuple[int, int]]:
    """Every (object, scene) pair that training never draws: the prompts of the evaluation."""
    return [(thing, scene) for thing in range(len(THINGS)) for scene in held_out_scenes(thing)]
