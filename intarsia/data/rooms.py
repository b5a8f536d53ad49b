"""The parameters of rooms as a function of indices: coloured floor, walls and sky, and solids on the floor.

Lengths are metres and angles radians. A room is a square around the origin; x is to the right, y ahead, z up.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from intarsia.data.random import Keys, uniform

SPHERE, BOX, CYLINDER, CAPSULE, CONE = range(5)
VARIANTS = {"train": (1, 3), "empty_room": (0, 0), "six_objects": (4, 6), "identical_color": (4, 6)}  # fewest, most objects

REACH = 4.0  # from the middle of the room to a wall
WALL = 1.4, 1.9  # height of the walls
EYE = (-0.9, -3.2, 0.8), (0.9, -2.2, 1.2)  # where the camera stands
TURN = np.deg2rad([-40, 40])  # to the right of straight ahead
TILT = np.deg2rad([2, 8])  # downwards
DISTANCE, ASIDE = (1.7, 4.4), np.deg2rad([-27, 27])  # of an object: from the camera, and from the direction of its view
RADIUS = 0.22, 0.48  # of an object's base
HEIGHT = 0.7, 1.3  # of an object, as a multiple of 2 radii
GAP = 0.1  # from an object to the next one or a wall
ELEVATION = np.deg2rad([45, 75])  # of the light
AMBIENT = 0.45, 0.65  # fraction of the light that is ambient
# Lowest and highest saturation and brightness (of HSV). Hues are uniform.
SKY, FLOOR, WALLS, OBJECT = (0.15, 0.45, 0.85, 1.0), (0.4, 1.0, 0.45, 0.95), (0.4, 1.0, 0.6, 1.0), (0.7, 1.0, 0.6, 1.0)

Floats = NDArray[np.float64]


class Rooms(NamedTuple):
    """The parameters of `b` rooms with up to n objects, nearest first; colours are in [0, 1]."""

    number: NDArray[np.int64]  # b: the number of objects
    shape: NDArray[np.int64]  # b n: SPHERE to CONE
    radius: Floats  # b n
    height: Floats  # b n
    place: Floats  # b n 2: x, y
    angle: Floats  # b n: around the vertical axis
    colours: Floats  # b 3+n 3: of sky, floor, walls, objects
    wall: Floats  # b: height
    eye: Floats  # b 3: x, y, z of the camera
    turn: Floats  # b: of the camera, to the right
    tilt: Floats  # b: downwards
    light: Floats  # b 3: the direction that it shines in, of length 1
    ambient: Floats  # b


def draw_rooms(keys: Keys, variant: str) -> Rooms:
    """Random rooms of one of `VARIANTS`."""
    fewest, most = VARIANTS[variant]
    counts = {"camera": 5, "room": 4, "number": 1, "shape": most, "height": most, "angle": most, "colours": 3 * (3 + most)}
    u = uniform(keys, np.arange(sum(counts.values())))
    parts = dict(zip(counts, np.split(u, np.cumsum([*counts.values()])[:-1], axis=1), strict=True))
    number = fewest + np.floor((most - fewest + 1) * parts["number"][:, 0]).astype(np.int64)
    eye, turn, tilt = (
        _between(EYE, parts["camera"][:, :3]),
        *(_between(*limits) for limits in ((TURN, parts["camera"][:, 3]), (TILT, parts["camera"][:, 4]))),
    )
    radius, place = _arranged(keys, sum(counts.values()), number, most, eye, turn)
    wall, ambient, elevation, azimuth = parts["room"].T
    elevation, azimuth = _between(ELEVATION, elevation), 2 * np.pi * azimuth
    level = np.cos(elevation)
    return Rooms(
        number=number,
        shape=np.floor(5 * parts["shape"]).astype(np.int64),
        radius=radius,
        height=2 * radius * _between(HEIGHT, parts["height"]),
        place=place,
        angle=2 * np.pi * parts["angle"],
        colours=_colours(parts["colours"].reshape(len(keys), 3 + most, 3), same=variant == "identical_color"),
        wall=_between(WALL, wall),
        eye=eye,
        turn=turn,
        tilt=tilt,
        light=np.stack([level * np.cos(azimuth), level * np.sin(azimuth), -np.sin(elevation)], axis=1),
        ambient=_between(AMBIENT, ambient),
    )


def _between(limits: tuple[float, float] | tuple[tuple[float, ...], ...] | Floats, u: Floats) -> Floats:
    low, high = np.asarray(limits)
    return low + (high - low) * u


def _arranged(keys: Keys, first: int, number: NDArray[np.int64], most: int, eye: Floats, turn: Floats) -> tuple[Floats, Floats]:
    """The radius `b n` and place `b n 2` of each object, nearest first.

    All objects of a room are redrawn together until they fit; this uses the draws from `first` on. So all arrangements that fit
    are equally likely, which they would not be if objects were placed one after the other.
    """
    radius, place = np.empty((len(keys), most)), np.empty((len(keys), most, 2))
    present = np.arange(most) < number[:, None]
    absent = ~(present[:, :, None] & present[:, None]) | np.eye(most, dtype=np.bool_)  # pairs that can't collide
    unplaced = np.arange(len(keys))
    while len(unplaced):
        u = uniform(keys[unplaced], np.arange(first, first + 3 * most)).reshape(len(unplaced), 3, most)
        distance = np.sort(_between(DISTANCE, u[:, 0]), axis=1)
        angle = turn[unplaced, None] + _between(ASIDE, u[:, 1])
        r = radius[unplaced] = _between(RADIUS, u[:, 2])
        at = eye[unplaced, None, :2] + distance[..., None] * np.stack([np.sin(angle), np.cos(angle)], axis=-1)
        place[unplaced] = at
        away = np.linalg.norm(at[:, :, None] - at[:, None], axis=-1)
        apart = (away > r[:, :, None] + r[:, None] + GAP) | absent[unplaced]
        inside = (np.abs(at).max(axis=-1) + r + GAP < REACH) | ~present[unplaced]
        unplaced = unplaced[~(apart.all(axis=(1, 2)) & inside.all(axis=1))]
        first += 3 * most
    return radius, place


def _colours(u: Floats, same: bool) -> Floats:
    """The colours (red, green, blue) of sky, floor, walls and objects, `b 3+n 3`, from three uniform numbers each."""
    limits = np.array([SKY, FLOOR, WALLS] + [OBJECT] * (u.shape[1] - 3))
    hue = u[..., 0]
    saturation, brightness = (_between(limits[:, pair].T, u[..., 1 + n]) for n, pair in enumerate(([0, 1], [2, 3])))
    turned = (6 * hue[..., None] + np.array([5, 3, 1])) % 6
    colours = brightness[..., None] * (1 - saturation[..., None] * np.clip(np.minimum(turned, 4 - turned), 0, 1))
    if same:
        colours[:, 3:] = colours[:, 3:4]
    return colours
