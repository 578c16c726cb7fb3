"""The scenes of the demo's films: a city at night, peaks in mist, the sea at sunrise, a room with a person, and others.

Each is a function from height, width and a seed to a `Stage`; the same seed gives the same picture. Start at `SCENES`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from malan.services.demo.paint import (
    MARGIN,
    Colour,
    Layer,
    Picture,
    Stage,
    below,
    glow,
    layer,
    mist,
    ridge,
    shaded,
    vertical,
)


def night_city(height: int, width: int, seed: int) -> Stage:
    """A river city at night from above: three depths of lit towers, their lights in the water, cars on a bridge."""
    rng, wide = np.random.default_rng(seed), int(width * MARGIN)
    sky = vertical(height, wide, (6, 9, 26), (18, 22, 58), (52, 40, 78), (20, 18, 40))
    sky[rng.integers(0, height // 2, 90), rng.integers(0, wide, 90)] = 210
    glow(sky, wide * 0.7, height * 0.16, height * 0.05, (240, 236, 200))
    depths = [(0.62, 0.28, 0.25, (34, 36, 70)), (0.68, 0.36, 0.5, (24, 26, 52)), (0.74, 0.42, 1.0, (12, 14, 30))]
    layers = [_towers(rng, height, wide, *depth) for depth in depths]
    water_y = int(height * 0.74)

    def alive(picture: Picture, frame: int) -> None:
        mirror = picture[water_y - (height - water_y) : water_y][::-1]
        sway = ((np.sin(np.arange(height - water_y) * 0.7 + frame * 0.25) * 2).astype(int))[:, None]
        columns = (np.arange(width)[None, :] + sway) % width
        picture[water_y:] = mirror[np.arange(height - water_y)[:, None], columns] // 2 + np.array([4, 8, 20], np.uint8)
        for car in range(14):
            x = int(car * 97 + frame * (3 if car % 2 else -4)) % width
            colour = (255, 236, 180) if car % 2 else (255, 60, 40)
            picture[water_y - 4 + car % 2 * 3, max(0, x - 3) : x + 3] = colour

    return Stage(sky, tuple(layers), alive)


def _towers(
    rng: np.random.Generator, height: int, wide: int, base: float, reach: float, speed: float, wall: Colour
) -> Layer:
    colour, cover = np.full((height, wide, 3), wall, np.uint8), np.zeros((height, wide), np.float32)
    x, unit = 0, max(3, height // 90)
    while x < wide:
        broad = int(rng.integers(6, 16)) * unit
        top = int(height * (base - reach * rng.random() ** 1.6))
        cover[top : int(height * 0.76), x : x + broad] = 1
        for row in range(top + unit, int(height * 0.74), 2 * unit):
            for column in range(x + unit, min(x + broad - unit, wide - unit), 2 * unit):
                if rng.random() < 0.42:
                    light = (255, 214, 130) if rng.random() < 0.75 else (160, 220, 255)
                    colour[row : row + unit, column : column + unit] = np.array(light) * (0.45 + 0.5 * speed)
        x += broad + int(rng.integers(0, 3)) * unit
    return layer(colour, cover, speed)


def karst_peaks(height: int, width: int, seed: int) -> Stage:
    """Sandstone pillars standing out of a sea of clouds."""
    rng, wide = np.random.default_rng(seed), int(width * MARGIN)
    sky = vertical(height, wide, (120, 168, 210), (196, 214, 226), (240, 226, 206))
    glow(sky, wide * 0.3, height * 0.3, height * 0.12, (60, 44, 10))
    layers = []
    for depth, tone in enumerate([(150, 170, 182), (104, 132, 134), (64, 92, 78), (36, 58, 44)]):
        edge = _pillars(rng, height, wide, 0.62 + 0.07 * depth, 0.42 - 0.03 * depth)
        light = tuple(min(255, c + 34) for c in tone)
        layers.append(layer(shaded(rng, height, wide, light, tone), below(edge, height), 0.25 + 0.25 * depth))  # type: ignore[arg-type]
        cloud, cover = mist(rng, height, wide, 0.66 + 0.08 * depth, 0.09, (244, 244, 242))
        layers.append(layer(cloud, cover, 0.3 + 0.25 * depth, drift_px=0.5 + 0.3 * depth))
    return Stage(sky, tuple(layers))


def _pillars(rng: np.random.Generator, height: int, wide: int, base: float, reach: float) -> NDArray[np.int64]:
    edge = np.full(wide, height * base)
    for _ in range(9):
        centre, half = rng.integers(0, wide), int(height * rng.uniform(0.04, 0.1))
        top = height * (base - reach * rng.uniform(0.4, 1))
        columns = np.arange(-half, half)
        profile = top + (np.abs(columns) / half) ** 5 * height * 0.3 + rng.normal(0, 1.2, 2 * half).cumsum() * 0.6
        at = (centre + columns) % wide
        edge[at] = np.minimum(edge[at], profile)
    return edge.astype(np.int64)


def sea_sunrise(height: int, width: int, seed: int) -> Stage:
    """The sun low over moving water."""
    rng, wide = np.random.default_rng(seed), int(width * MARGIN)
    sky = vertical(height, wide, (40, 60, 120), (226, 130, 96), (255, 206, 130), (60, 80, 120))
    sun_x, sun_y = wide * 0.4, height * 0.52
    glow(sky, sun_x, sun_y, height * 0.05, (255, 240, 200))
    glow(sky, sun_x, sun_y, height * 0.25, (90, 60, 10))
    cloud, cover = mist(rng, height, wide, 0.22, 0.12, (250, 190, 160))
    water_y = int(height * 0.6)
    depth = np.linspace(0, 1, height - water_y, dtype=np.float32)[:, None]
    tint = np.stack([30 + 120 * (1 - depth), 60 + 60 * (1 - depth), 96 + 20 * (1 - depth)], axis=-1)

    def alive(picture: Picture, frame: int) -> None:
        x = np.arange(width, dtype=np.float32)[None, :]
        y = np.arange(height - water_y, dtype=np.float32)[:, None]
        wave = np.sin(x * 0.05 / (0.2 + depth) + frame * 0.12 + y * 0.9) * np.sin(y * 1.7 - frame * 0.2)
        path = np.exp(-(((x - width * 0.45) / (20 + 140 * depth)) ** 2)) * (wave > 0.15)
        water = tint + (wave * 14)[..., None] + path[..., None] * np.array([200, 150, 80], np.float32)
        picture[water_y:] = np.clip(water, 0, 255)

    return Stage(sky, (layer(cloud, cover * 0.8, 0.2, 0.4),), alive)


def tea_hills(height: int, width: int, seed: int) -> Stage:
    """Green rows following the hills, by day."""
    rng, wide = np.random.default_rng(seed), int(width * MARGIN)
    sky = vertical(height, wide, (92, 158, 222), (176, 212, 236), (232, 240, 236))
    cloud, cover = mist(rng, height, wide, 0.2, 0.1, (255, 255, 255))
    layers = [layer(cloud, cover, 0.2, 0.3)]
    for depth in range(4):
        edge = ridge(rng, height, wide, 0.52 + 0.14 * depth, 0.2, 160)
        ground = shaded(rng, height, wide, (112 - 14 * depth, 168 - 12 * depth, 74), (50, 110 - 10 * depth, 40)).astype(
            int
        )
        rows = np.arange(height)[:, None] - edge[None, :]
        ground -= ((rows // (5 + 3 * depth)) % 2 * 26)[..., None]
        layers.append(layer(np.clip(ground, 0, 255).astype(np.uint8), below(edge, height), 0.3 + 0.25 * depth))
    return Stage(sky, tuple(layers))


def snow_ridge(height: int, width: int, seed: int) -> Stage:
    """White mountains in falling snow."""
    rng, wide = np.random.default_rng(seed), int(width * MARGIN)
    sky = vertical(height, wide, (138, 152, 172), (188, 198, 210), (216, 222, 230))
    layers = []
    for depth in range(3):
        edge = ridge(rng, height, wide, 0.6 + 0.16 * depth, 0.46 - 0.1 * depth, 120)
        tone = (206 - 30 * depth, 214 - 28 * depth, 226 - 22 * depth)
        layers.append(
            layer(shaded(rng, height, wide, (250, 251, 253), tone, 0.5), below(edge, height), 0.3 + 0.3 * depth)
        )
    flakes = rng.random((160, 3))

    def alive(picture: Picture, frame: int) -> None:
        y = ((flakes[:, 0] * height + frame * (1.5 + 3 * flakes[:, 2])) % (height - 2)).astype(int)
        x = ((flakes[:, 1] * width + 6 * np.sin(frame * 0.1 + flakes[:, 2] * 9)) % (width - 2)).astype(int)
        for dy, dx in ((0, 0), (0, 1), (1, 0)):
            picture[y + dy, x + dx] = 252

    return Stage(sky, tuple(layers), alive)


def street_day(height: int, width: int, seed: int) -> Stage:
    """Houses, trees and cars passing on a bright day."""
    rng, wide = np.random.default_rng(seed), int(width * MARGIN)
    sky = vertical(height, wide, (110, 170, 230), (200, 224, 240))
    colour, cover = np.zeros((height, wide, 3), np.uint8), np.zeros((height, wide), np.float32)
    x, unit = 0, max(3, height // 60)
    while x < wide:
        broad, top = int(rng.integers(10, 20)) * unit, int(height * rng.uniform(0.18, 0.45))
        wall = rng.integers(120, 226, 3)
        colour[:, x : x + broad], cover[top : int(height * 0.78), x : x + broad] = wall, 1
        for row in range(top + 2 * unit, int(height * 0.7), 4 * unit):
            for column in range(x + 2 * unit, min(x + broad - 2 * unit, wide), 4 * unit):
                colour[row : row + 2 * unit, column : column + 2 * unit] = wall // 2
        x += broad + unit
    road = np.zeros((height, wide), np.float32)
    road[int(height * 0.76) :] = 1
    houses, ground = (
        layer(colour, cover, 0.6),
        layer(shaded(rng, height, wide, (110, 110, 112), (70, 70, 74)), road, 1.0),
    )
    paints = rng.integers(60, 255, (6, 3))

    def alive(picture: Picture, frame: int) -> None:
        for car, paint in enumerate(paints):
            lane = int(height * (0.80 + 0.09 * (car % 2)))
            x = int(car * 211 + frame * (5 if car % 2 else -4)) % (width + 160) - 80
            _block(picture, lane, x, height // 16, height // 6, paint)
            _block(picture, lane - height // 28, x + height // 32, height // 24, height // 10, paint // 2 + 60)

    return Stage(sky, (houses, ground), alive)


def _block(picture: Picture, y: int, x: int, tall: int, broad: int, paint: NDArray[np.int64]) -> None:
    picture[max(0, y) : max(0, y + tall), max(0, x) : max(0, x + broad)] = paint


def dusk_river(height: int, width: int, seed: int) -> Stage:
    """Boats on a river at dusk."""
    rng, wide = np.random.default_rng(seed), int(width * MARGIN)
    sky = vertical(height, wide, (58, 44, 92), (190, 92, 92), (248, 170, 96), (120, 84, 96), (40, 36, 60))
    hills = ridge(rng, height, wide, 0.56, 0.16, 140)
    far = layer(
        shaded(rng, height, wide, (70, 52, 80), (52, 40, 66)),
        below(hills, height) * (np.arange(height) < height * 0.58)[:, None],
        0.4,
    )

    def alive(picture: Picture, frame: int) -> None:
        y = np.arange(height // 2, dtype=np.float32)
        shimmer = (np.sin(y[:, None] * 1.3 + frame * 0.15 + np.arange(width)[None, :] * 0.03) > 0.93) * 46
        lower = picture[height - height // 2 :]
        mask = y[:, None] > height * 0.08
        np.clip(lower + (shimmer * mask)[..., None] * np.array([1.0, 0.7, 0.5]), 0, 255, out=lower, casting="unsafe")
        for boat in range(3):
            x, base = (
                int(boat * width / 2.6 + frame * (0.8 + 0.4 * boat)) % (width + 120) - 60,
                int(height * (0.64 + 0.09 * boat)),
            )
            for row in range(height // 30):
                picture[base + row, max(0, x + row) : max(0, x + height // 5 - row)] = (24, 18, 28)
            mast = x + height // 10
            if 0 <= mast < width - 2:
                picture[base - height // 8 : base, mast : mast + 2] = (24, 18, 28)

    return Stage(sky, (far,), alive)


def room(height: int, width: int, seed: int) -> Stage:
    """Two people in a warm room: a window, a lamp, shoulders and heads that move a little as they speak."""
    rng, wide = np.random.default_rng(seed), int(width * MARGIN)
    tone = rng.integers(70, 130, 3) + np.array([50, 24, 0])
    wall = vertical(height, wide, tuple(tone + 20), tuple(tone), tuple(tone // 2))
    glow(wall, wide * rng.uniform(0.15, 0.35), height * 0.35, height * 0.14, (150, 110, 60))
    left = int(wide * rng.uniform(0.45, 0.6))
    wall[int(height * 0.14) : int(height * 0.46), left : left + width // 4] = (150, 186, 214)
    wall[int(height * 0.29) : int(height * 0.305), left : left + width // 4] = tone // 2
    clothes, skin = rng.integers(20, 200, (2, 3)), np.array([[222, 180, 150], [236, 198, 172]])
    places = [0.5] if width < height else [rng.uniform(0.22, 0.38), rng.uniform(0.6, 0.76)]

    def alive(picture: Picture, frame: int) -> None:
        for person, place in enumerate(places):
            nod = 2.5 * np.sin(frame * 0.13 + person * 2)
            _person(
                picture,
                width * place + nod,
                height * 0.5 + nod / 2,
                min(width, height) * 0.14,
                skin[person],
                clothes[person],
            )

    return Stage(wall, (), alive)


def _person(
    picture: Picture, x: float, y: float, head: float, skin: NDArray[np.int64], clothes: NDArray[np.int64]
) -> None:
    height, width = picture.shape[:2]
    yy, xx = np.ogrid[:height, :width]
    shoulders = ((xx - x) / (head * 1.9)) ** 2 + ((yy - y - head * 3.4) / (head * 2.2)) ** 2 < 1
    picture[shoulders | ((abs(xx - x) < head * 1.9) & (yy > y + head * 3.4))] = clothes
    picture[(abs(xx - x) < head * 0.4) & (yy > y) & (yy < y + head * 1.5)] = skin * 9 // 10
    picture[((xx - x) / head) ** 2 + ((yy - y + head * 0.25) / (head * 1.15)) ** 2 < 1] = (38, 28, 26)
    picture[((xx - x) / (head * 0.82)) ** 2 + ((yy - y) / head) ** 2 < 1] = skin
    for side in (-0.34, 0.34):
        picture[((xx - x - side * head) / (head * 0.09)) ** 2 + ((yy - y + head * 0.1) / (head * 0.11)) ** 2 < 1] = (
            30,
            24,
            24,
        )
    picture[(abs(xx - x) < head * 0.22) & (abs(yy - y - head * 0.5) < head * 0.05)] = (150, 70, 66)


def neon_rain(height: int, width: int, seed: int) -> Stage:
    """A narrow street in the rain, signs glowing, one person walking."""
    rng, wide = np.random.default_rng(seed), int(width * MARGIN)
    wall = vertical(height, wide, (16, 14, 34), (34, 22, 52), (14, 12, 26))
    for _ in range(9):
        colour = tuple(int(c) for c in rng.permutation([250, int(rng.integers(20, 200)), 90]))
        x, y = rng.integers(0, wide - 40), rng.integers(int(height * 0.1), int(height * 0.6))
        wall[y : y + height // 9, x : x + height // 40] = colour
        glow(wall, x, y + height / 18, height * 0.07, colour, 0.6)  # type: ignore[arg-type]
    streaks = rng.random((90, 3))

    def alive(picture: Picture, frame: int) -> None:
        _person(
            picture,
            width * 0.5 + 6 * np.sin(frame * 0.2),
            height * 0.42,
            min(width, height) * 0.09,
            np.array([190, 150, 130]),
            np.array([40, 44, 60]),
        )
        floor = int(height * 0.8)
        picture[floor:] = picture[2 * floor - height : floor][::-1] // 2
        y = ((streaks[:, 0] * height + frame * (14 + 8 * streaks[:, 2])) % (height - 9)).astype(int)
        x = (streaks[:, 1] * (width - 1)).astype(int)
        for step in range(8):
            picture[y + step, x] = picture[y + step, x] // 2 + 90

    return Stage(wall, (), alive)


def forest_light(height: int, width: int, seed: int) -> Stage:
    """Trunks in slanting light."""
    rng, wide = np.random.default_rng(seed), int(width * MARGIN)
    air = vertical(height, wide, (206, 222, 150), (132, 168, 92), (52, 84, 40))
    yy, xx = np.mgrid[:height, :wide]
    beams = (np.sin((xx + yy * 0.7) * 0.035) > 0.75)[..., None] * np.array([26, 26, 12])
    air = np.clip(air + beams, 0, 255).astype(np.uint8)
    layers = []
    for depth in range(3):
        cover = np.zeros((height, wide), np.float32)
        for x in rng.integers(0, wide, 12 - 3 * depth):
            broad = int(height * (0.02 + 0.025 * depth))
            cover[: int(height * (0.78 + 0.1 * depth)), x : x + broad] = 1
        tone = (70 - 18 * depth, 62 - 18 * depth, 44 - 12 * depth)
        layers.append(layer(shaded(rng, height, wide, tone, tone, 0.7), cover, 0.35 + 0.35 * depth))
    floor = ridge(rng, height, wide, 0.92, 0.1, 90)
    layers.append(layer(shaded(rng, height, wide, (60, 92, 44), (30, 52, 26), 0.8), below(floor, height, 6), 1.0))
    return Stage(air, tuple(layers))


SCENES: dict[str, Callable[[int, int, int], Stage]] = {
    "night_city": night_city,
    "karst_peaks": karst_peaks,
    "sea_sunrise": sea_sunrise,
    "tea_hills": tea_hills,
    "snow_ridge": snow_ridge,
    "street_day": street_day,
    "dusk_river": dusk_river,
    "room": room,
    "neon_rain": neon_rain,
    "forest_light": forest_light,
}
"""Painters by name: height and width of the picture in pixels, and a seed."""
