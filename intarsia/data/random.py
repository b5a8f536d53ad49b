"""Counter-based random numbers: each is a pure function of seed, split, scene and draw, without a state.

Each scene has a SplitMix64 stream (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014). The
stream starts at the scene's key, a hash of seed, split and index. Any draw of any scene can be computed directly. So a scene
does not depend on its batch, and a repeated draw is a draw with a higher number.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Keys = NDArray[np.uint64]

U = np.uint64
STEP = U(0x9E3779B97F4A7C15)  # 2**64 / golden ratio, odd: consecutive counters land far apart


def scene_keys(seed: int, split: str, indices: ArrayLike) -> Keys:
    """The key of each scene, `b`, from a seed (0 to 2**64 - 1), a split's name (up to 8 letters) and indices >= 0."""
    key = np.zeros(1, np.uint64)
    for word in (seed, int.from_bytes(split.encode()), indices):
        key = _stream(key, np.atleast_1d(np.asarray(word, np.uint64)))
    return key


def uniform(keys: Keys, draws: ArrayLike) -> NDArray[np.float64]:
    """Numbers in [0, 1), uniform in steps of 2**-53: `b n` for `b` keys and `n` draw numbers >= 0."""
    bits = _stream(keys[:, None], np.asarray(draws, np.uint64)) >> U(11)
    return bits.astype(np.float64) * 2.0**-53


def spaced(keys: Keys, first: int, count: int, low: ArrayLike, high: ArrayLike, spacing: float) -> NDArray[np.float64]:
    """Places `b n 2` for `n` = `count` objects of each scene, uniform from low to high (2 numbers each).

    A place is redrawn until it differs from each earlier one by more than `spacing`, rows and columns added. This uses the
    draws from `first` on.
    """
    low, high = np.asarray(low), np.asarray(high)
    places = np.empty((len(keys), count, 2))
    for i in range(count):
        unplaced, draw = np.arange(len(keys)), first + 2 * i
        while len(unplaced):
            places[unplaced, i] = low + (high - low) * uniform(keys[unplaced], [draw, draw + 1])
            distance = np.abs(places[unplaced, i, None] - places[unplaced, :i]).sum(axis=2)
            unplaced = unplaced[(distance <= spacing).any(axis=1)]
            draw += 2 * count
    return places


def shuffled(seed: int, indices: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """The item, 0 to `size` - 1, at each index >= 0 of an endless sequence of random permutations of all items.

    Any index is computed directly: a Feistel network of four rounds permutes the smallest power of 4 that is at least `size`,
    and a result of `size` or more goes through it again until it is below (Black and Rogaway, "Ciphers with arbitrary finite
    domains", 2002).
    """
    bits = U(max(1, -(-(size - 1).bit_length() // 2)))  # of each of the two parts of an index
    low = (U(1) << bits) - U(1)
    rounds = _stream(scene_keys(seed, "order", indices // size)[:, None], np.arange(4, dtype=np.uint64))
    place = (indices % size).astype(np.uint64)
    outside = np.arange(len(place))
    while len(outside):
        left, right = place[outside] >> bits, place[outside] & low
        for key in rounds[outside].T:
            left, right = right, left ^ (_stream(key, right) & low)
        place[outside] = left << bits | right
        outside = outside[place[outside] >= size]
    return place.astype(np.int64)


def _stream(start: Keys, count: Keys) -> Keys:
    """Number `count` of the SplitMix64 stream that starts at `start`; uint64 arithmetic wraps around."""
    z = start + (count + U(1)) * STEP
    z = (z ^ (z >> U(30))) * U(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> U(27))) * U(0x94D049BB133111EB)
    return z ^ (z >> U(31))
