"""The fourteen scenes of the toy world, painted procedurally: smooth, distinct at 64 pixels, some in perspective."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

Field = npt.NDArray[np.float32]  # [S, S]
Painting = npt.NDArray[np.float32]  # [S, S, 3], 0..1
Colour = tuple[float, float, float]
Random = np.random.Generator

S = 128  # pixels a side; scenes are painted at twice the size of the picture and averaged down

_ROWS, _COLUMNS = np.meshgrid(
    np.linspace(0, 1, S, dtype=np.float32), np.linspace(0, 1, S, dtype=np.float32), indexing="ij"
)


@dataclass(frozen=True)
class Ground:
    """A floor in perspective."""

    below: Field  # 1 under the horizon, 0 above, with a soft edge
    u: Field  # floor coordinates; only meaningful under the horizon
    v: Field
    near: Field  # 0 at the horizon, 1 at the lower edge


def noise(draw: Random, cells: int, rows: int | None = None) -> Field:
    """Smooth noise 0..1 with about `cells` lumps a side (and `rows` from top to bottom)."""
    coarse = draw.random(((rows or cells) + 1, cells + 1), dtype=np.float32)
    return np.asarray(Image.fromarray(coarse).resize((S, S), Image.Resampling.BICUBIC))


def mix(first: Colour | Painting, second: Colour | Painting, amount: Field) -> Painting:
    """`first` where `amount` is 0, `second` where it is 1."""
    a, b = np.asarray(first, dtype=np.float32), np.asarray(second, dtype=np.float32)
    return a + (b - a) * amount[..., None]


def edge(value: Field, width: float | Field) -> Field:
    """0 below zero, 1 above, with a soft step of `width`."""
    return np.clip(value / width + 0.5, 0, 1)


def ground(draw: Random, horizon: tuple[float, float], turned: bool = True) -> Ground:
    """A floor whose horizon lies at a drawn height (0 top, 1 bottom), seen from a drawn angle."""
    line = draw.uniform(*horizon)
    depth = 1 / np.maximum(_ROWS - line + 0.12, 0.02)
    across = (_COLUMNS - 0.5 + draw.uniform(-0.2, 0.2)) * depth
    angle = draw.uniform(-0.7, 0.7) if turned else 0.0
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return Ground(
        below=edge(_ROWS - line, 0.02),
        u=across * cosine - depth * sine,
        v=across * sine + depth * cosine,
        near=np.clip((_ROWS - line) / (1 - line), 0, 1),
    )


def sky(draw: Random, top: Colour, bottom: Colour, clouds: float = 0.0) -> Painting:
    """A sky from `top` to `bottom`, with some clouds."""
    painted = mix(top, bottom, np.clip(_ROWS * 1.6, 0, 1))
    if clouds:
        painted = mix(painted, (1, 1, 1), clouds * np.clip(noise(draw, 3, 6) * 2 - 0.9, 0, 1))
    return painted


def wall(draw: Random, colours: list[Colour]) -> Painting:
    """A plain wall, lit from one side."""
    colour = np.asarray(colours[draw.integers(len(colours))], dtype=np.float32)
    light = 1 + draw.uniform(-0.2, 0.2) * (_COLUMNS - 0.5) - 0.1 * _ROWS
    lit: Painting = colour * light[..., None]
    return lit


def grass(draw: Random) -> Painting:
    """A lawn under a blue sky."""
    floor = ground(draw, (0.2, 0.4))
    blades = 0.6 * noise(draw, 16, 24) + 0.4 * noise(draw, 5)
    lawn = mix((0.16, 0.42, 0.08), (0.45, 0.72, 0.2), blades)
    return mix(sky(draw, (0.42, 0.68, 0.95), (0.8, 0.92, 1.0), 0.7), lawn, floor.below)


def beach(draw: Random) -> Painting:
    """Sand, foam, sea, sky."""
    floor = ground(draw, (0.18, 0.28))
    shore = floor.near - 0.22 - 0.06 * np.sin(_COLUMNS * 5 + draw.uniform(0, 6))
    sea = mix((0.1, 0.5, 0.68), (0.35, 0.8, 0.82), np.clip(floor.near * 4, 0, 1))
    sand = mix((0.9, 0.8, 0.56), (0.98, 0.91, 0.72), noise(draw, 8))
    foam = np.clip(1 - np.abs(shore) / 0.04, 0, 1)
    land = mix(mix(sea, sand, edge(shore, 0.03)), (1, 1, 1), foam * 0.8)
    return mix(sky(draw, (0.36, 0.66, 0.96), (0.78, 0.92, 1.0), 0.4), land, floor.below)


def snow(draw: Random) -> Painting:
    """Snow drifts under a grey sky, with flakes."""
    floor = ground(draw, (0.35, 0.55))
    hills = edge(_ROWS - 0.42 - 0.1 * np.sin(_COLUMNS * draw.uniform(4, 8) + draw.uniform(0, 6)), 0.02)
    drifts = mix((0.8, 0.86, 0.95), (0.97, 0.98, 1.0), noise(draw, 4))
    painted = mix(sky(draw, (0.66, 0.74, 0.84), (0.84, 0.88, 0.93)), drifts, np.maximum(hills, floor.below))
    flakes = _dots(draw, 26, (0.8, 1.5))
    return mix(painted, (1, 1, 1), flakes)


def night(draw: Random) -> Painting:
    """Stars over dark hills."""
    painted = mix(
        sky(draw, (0.02, 0.03, 0.14), (0.1, 0.13, 0.36)), (0.3, 0.2, 0.5), 0.5 * np.clip(noise(draw, 3) - 0.5, 0, 1)
    )
    painted = mix(painted, (1.0, 0.97, 0.8), _dots(draw, 30, (0.7, 1.7)))
    hills = edge(_ROWS - 0.84 - 0.05 * np.sin(_COLUMNS * draw.uniform(3, 7) + draw.uniform(0, 6)), 0.02)
    return mix(painted, (0.03, 0.05, 0.07), hills)


def wood(draw: Random) -> Painting:
    """A table of wooden planks before a plain wall."""
    floor = ground(draw, (0.25, 0.42), turned=False)
    plank = np.floor(floor.u * 3.2).astype(np.int32) % 64
    tone = draw.random(64, dtype=np.float32)[plank]
    seam = np.clip(np.abs(floor.u * 3.2 % 1 - 0.5) * 2 - 0.9, 0, 0.1) * 10
    grain = 0.5 * tone + 0.5 * noise(draw, 14, 3)
    table = mix(mix((0.5, 0.28, 0.12), (0.74, 0.48, 0.25), grain), (0.25, 0.13, 0.05), 0.7 * seam)
    return mix(wall(draw, [(0.82, 0.78, 0.7), (0.75, 0.8, 0.74), (0.85, 0.82, 0.78)]), table, floor.below)


def brick(draw: Random) -> Painting:
    """A brick wall over a strip of pavement."""
    count = draw.uniform(6, 9)
    row = _ROWS * count + draw.uniform(0, 1)
    column = _COLUMNS * count / 2 + 0.5 * (np.floor(row) % 2)
    tone = draw.random((16, 16), dtype=np.float32)[np.floor(row).astype(int) % 16, np.floor(column).astype(int) % 16]
    bricks = mix((0.55, 0.22, 0.15), (0.72, 0.34, 0.23), tone)
    joint = np.maximum(edge(np.abs(row % 1 - 0.5) - 0.42, 0.06), edge(np.abs(column % 1 - 0.5) - 0.455, 0.04))
    painted = mix(bricks, (0.76, 0.7, 0.64), joint)
    pavement = mix((0.5, 0.5, 0.5), (0.58, 0.57, 0.56), noise(draw, 6))
    return mix(painted, pavement, edge(_ROWS - draw.uniform(0.8, 0.9), 0.02))


def checker(draw: Random) -> Painting:
    """A black and white chequered floor in perspective."""
    floor = ground(draw, (0.2, 0.38))
    scale = draw.uniform(0.9, 1.3) * np.pi
    waves = np.sin(floor.u * scale) * np.sin(floor.v * scale)
    steepness = 0.05 + 0.5 * (1 - floor.near) ** 2  # far tiles blur into each other instead of flickering
    tiles = mix((0.1, 0.1, 0.12), (0.92, 0.91, 0.88), edge(waves, steepness))
    return mix(wall(draw, [(0.55, 0.6, 0.68), (0.7, 0.66, 0.6), (0.62, 0.62, 0.62)]), tiles, floor.below)


def water(draw: Random) -> Painting:
    """Rippled blue water almost to the upper edge."""
    floor = ground(draw, (0.05, 0.25))
    ripples = noise(draw, 5, 14) * 0.7 + 0.3 * noise(draw, 9, 20)
    sea = mix((0.02, 0.3, 0.6), (0.25, 0.65, 0.85), ripples)
    sea = mix(sea, (0.85, 0.96, 1.0), np.clip(ripples * 4 - 3, 0, 1))
    return mix(sky(draw, (0.5, 0.75, 0.95), (0.85, 0.94, 1.0)), sea, floor.below)


def carpet(draw: Random) -> Painting:
    """A red carpet with a golden border before a cream wall."""
    floor = ground(draw, (0.28, 0.45))
    pile = mix((0.6, 0.04, 0.08), (0.78, 0.1, 0.13), noise(draw, 12))
    border = np.abs(np.abs(_COLUMNS - 0.5) / (0.3 + 0.25 * floor.near) - 1)
    pile = mix(pile, (0.85, 0.66, 0.25), np.clip(1 - border / 0.06, 0, 1))
    return mix(wall(draw, [(0.9, 0.84, 0.7), (0.86, 0.8, 0.66), (0.92, 0.88, 0.78)]), pile, floor.below)


def sunset(draw: Random) -> Painting:
    """The sun low over dark land."""
    horizon = draw.uniform(0.66, 0.76)
    painted = mix((0.38, 0.2, 0.5), (1.0, 0.55, 0.2), np.clip(_ROWS / horizon, 0, 1) ** 1.3)
    middle = draw.uniform(0.2, 0.8)
    radius = np.hypot(_COLUMNS - middle, _ROWS - horizon + 0.04)
    painted = mix(painted, (1.0, 0.8, 0.35), np.clip(1 - radius / 0.45, 0, 1))
    painted = mix(painted, (1.0, 0.96, 0.7), edge(0.12 - radius, 0.02))
    land = mix((0.24, 0.1, 0.14), (0.4, 0.17, 0.16), noise(draw, 4, 10))
    return mix(painted, land, edge(_ROWS - horizon, 0.015))


def forest(draw: Random) -> Painting:
    """Tree trunks, canopy, undergrowth."""
    painted = mix((0.1, 0.26, 0.12), (0.3, 0.46, 0.22), noise(draw, 6))
    for depth in range(3):
        for _ in range(4):
            middle, width = draw.uniform(0, 1), draw.uniform(0.02, 0.035) * (1 + depth * 0.6)
            bark = edge(width - np.abs(_COLUMNS - middle), 0.012)
            tone = 0.5 + 0.2 * depth
            painted = mix(painted, (0.34 * tone, 0.22 * tone, 0.13 * tone), bark)
    canopy = edge(0.3 * noise(draw, 7) + 0.12 - _ROWS, 0.08)
    painted = mix(painted, mix((0.04, 0.18, 0.05), (0.16, 0.38, 0.1), noise(draw, 10)), canopy)
    undergrowth = mix((0.12, 0.2, 0.06), (0.28, 0.34, 0.12), noise(draw, 10))
    return mix(painted, undergrowth, edge(_ROWS - 0.72 - 0.06 * noise(draw, 6), 0.04))


def desert(draw: Random) -> Painting:
    """Orange dunes."""
    painted = sky(draw, (0.3, 0.6, 0.9), (0.95, 0.87, 0.7))
    for level, tone in ((0.42, 0.78), (0.52, 0.9), (0.66, 1.0)):
        ridge = level + 0.07 * np.sin(_COLUMNS * draw.uniform(3, 7) + draw.uniform(0, 6))
        shade = np.clip((_ROWS - ridge) * 3, 0, 1)
        dune = mix((0.93 * tone, 0.6 * tone, 0.28 * tone), (0.8 * tone, 0.44 * tone, 0.18 * tone), shade)
        painted = mix(painted, dune, edge(_ROWS - ridge, 0.015))
    return painted


def marble(draw: Random) -> Painting:
    """A veined marble floor before a dark green wall."""
    floor = ground(draw, (0.25, 0.42))
    veins = np.clip(1 - np.abs(noise(draw, 5) + 0.3 * noise(draw, 12) - 0.65) / 0.1, 0, 1)
    stone = mix((0.93, 0.92, 0.9), (0.62, 0.62, 0.65), 0.7 * veins)
    tile_u, tile_v = np.abs(floor.u * 0.6 % 1 - 0.5), np.abs(floor.v * 0.6 % 1 - 0.5)
    stone = mix(stone, (0.55, 0.55, 0.56), 0.6 * edge(np.maximum(tile_u, tile_v) - 0.48, 0.03))
    return mix(wall(draw, [(0.2, 0.36, 0.36), (0.24, 0.38, 0.36), (0.18, 0.32, 0.35)]), stone, floor.below)


def blue(draw: Random) -> Painting:
    """A plain blue studio background."""
    light = np.clip(1 - np.hypot(_COLUMNS - draw.uniform(0.3, 0.7), _ROWS - draw.uniform(0.2, 0.6)), 0, 1)
    return mix((0.1, 0.2, 0.72), (0.25, 0.42, 0.95), light)


def _dots(draw: Random, count: int, radius: tuple[float, float]) -> Field:
    """Soft dots (stars, flakes) of a radius in pixels of `S`, strongest value 1."""
    field = np.zeros((S, S), dtype=np.float32)
    around = np.arange(-4, 5, dtype=np.float32)
    for _ in range(count):
        row, column = draw.integers(4, S - 4, size=2)
        size = draw.uniform(*radius) * 1.3
        spot = np.exp(-(around[:, None] ** 2 + around[None, :] ** 2) / (2 * size**2))
        window = field[row - 4 : row + 5, column - 4 : column + 5]
        np.maximum(window, spot, out=window)
    return field


PAINTERS: dict[str, Callable[[Random], Painting]] = {
    "grass": grass,
    "beach": beach,
    "snow": snow,
    "night": night,
    "wood": wood,
    "brick": brick,
    "checker": checker,
    "water": water,
    "carpet": carpet,
    "sunset": sunset,
    "forest": forest,
    "desert": desert,
    "marble": marble,
    "blue": blue,
}


def paint(key: str, draw: Random) -> Painting:
    """A scene by its key, [S, S, 3] in 0..1."""
    painted = PAINTERS[key](draw)
    tint = 1 + draw.uniform(-0.03, 0.03, size=3)
    return np.clip(painted * tint * draw.uniform(0.92, 1.05), 0, 1).astype(np.float32)
