import numpy as np
import pytest

from intarsia.data.random import scene_keys, uniform

N = 1 << 18


def test_the_stream_is_splitmix64() -> None:
    # The published first outputs of SplitMix64 with seed 1234567; a key is the seed, a draw the place in the stream.
    outputs = np.array([6457827717110365317, 3203168211198807973, 9817491932198370423], np.uint64)
    drawn = uniform(np.array([1234567], np.uint64), range(3))[0]
    assert np.array_equal(drawn, (outputs >> np.uint64(11)).astype(float) / 2**53)


def test_a_draw_depends_on_nothing_but_its_own_address() -> None:
    u = uniform(scene_keys(3, "val", range(20)), range(30))
    assert np.array_equal(uniform(scene_keys(3, "val", [19, 4]), [29, 0]), u[[19, 4]][:, [29, 0]])
    assert len({*u.ravel()}) == u.size


def test_numbers_are_uniform_in_the_unit_interval() -> None:
    u = uniform(scene_keys(0, "train", range(N // 64)), range(64)).ravel()
    assert u.min() >= 0 and u.max() < 1
    error = 1 / np.sqrt(N)  # five standard errors below
    assert abs(u.mean() - 1 / 2) < 5 * error * np.sqrt(1 / 12)
    assert abs(u.var() - 1 / 12) < 5 * error * np.sqrt(1 / 180)
    counts, _ = np.histogram(u, 256, (0, 1))
    chi_squared = ((counts - N / 256) ** 2).sum() / (N / 256)
    assert abs(chi_squared - 255) < 5 * np.sqrt(2 * 255)


SEED_ZERO = uniform(scene_keys(0, "train", range(N)), range(2))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (SEED_ZERO[:-1, 0], SEED_ZERO[1:, 0]),
        (SEED_ZERO[:, 0], SEED_ZERO[:, 1]),
        (SEED_ZERO[:-1, 1], SEED_ZERO[1:, 0]),
        (SEED_ZERO[:, 0], uniform(scene_keys(1, "train", range(N)), [0])[:, 0]),
        (SEED_ZERO[:, 0], uniform(scene_keys(0, "test", range(N)), [0])[:, 0]),
    ],
    ids=["next scene", "next draw", "next scene, draw before", "next seed", "other split"],
)
def test_neighbours_are_uncorrelated(one: np.ndarray, other: np.ndarray) -> None:
    assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(len(one))
    assert not (one == other).any()
