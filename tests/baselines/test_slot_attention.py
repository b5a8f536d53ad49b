import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from intarsia.baselines.slot_attention import (
    Competition,
    Decoder,
    Encoder,
    FeatureDecoder,
    SlotAttention,
    draw_noise,
    learning_rate_at,
    segment,
    train,
)
from intarsia.data import Scenes, SceneSample
from intarsia.errors import InputError
from intarsia.shapes import one_hot

SLOTS = 3


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=Generator().manual_seed(seed))


def start(count: int = 2, seed: int = 0) -> Tensor:
    return draw_noise(count, SLOTS, Generator().manual_seed(seed))


def squares(indices: np.ndarray) -> SceneSample:
    """A red square on blue, at a place that depends on the index."""
    labels = torch.zeros(len(indices), 16, 16, dtype=torch.long)
    for image, index in zip(labels, indices, strict=True):
        image[index % 9 : index % 9 + 6, index % 7 : index % 7 + 6] = 1
    colours = torch.tensor([[0.1, 0.2, 0.7], [0.9, 0.2, 0.1]])
    return SceneSample(colours[labels].permute(0, 3, 1, 2), one_hot(labels, 2))


SCENES = Scenes("squares", None, 16, 16, 2, squares)


@pytest.fixture(scope="module", params=[0, 7], ids=["images", "features"])
def model(request: pytest.FixtureRequest) -> SlotAttention:
    return SlotAttention(SLOTS, features=request.param)


def maps(model: SlotAttention, count: int, height: int, width: int) -> Tensor:
    """Images, or features, for the model."""
    return draw(count, 3 if isinstance(model.encoder, Encoder) else 7, height, width)


@torch.no_grad()
@pytest.mark.parametrize("autocast", [False, True])
def test_reconstruction_and_masks(model: SlotAttention, autocast: bool) -> None:
    given = maps(model, 2, 12, 20)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        reconstruction, masks = model(given, start())
    assert reconstruction.shape == given.shape and masks.shape == (2, SLOTS, 12, 20)
    assert reconstruction.dtype == masks.dtype == torch.float32
    assert reconstruction.isfinite().all() and (masks >= 0).all()
    assert torch.allclose(masks.sum(1), torch.ones(2, 12, 20), atol=1e-6)


@torch.no_grad()
def test_order_of_the_slots_is_the_order_of_the_masks(model: SlotAttention) -> None:
    given, noise, order = maps(model, 2, 12, 12), start(), [2, 0, 1]
    reconstruction, masks = model(given, noise)
    same, permuted = model(given, noise[:, order])
    assert torch.allclose(permuted, masks[:, order], atol=1e-6)
    assert torch.allclose(same, reconstruction, atol=1e-5)
    assert not torch.allclose(permuted, masks, atol=1e-4)


@torch.no_grad()
def test_slots_know_no_order_of_pixels() -> None:
    pixels, noise = draw(2, 30, 32), start()
    competition = Competition()
    assert torch.allclose(competition(pixels, noise), competition(pixels.flip(1), noise), atol=1e-5)
    assert torch.allclose(competition(pixels, noise), competition(torch.cat([pixels] * 4, 1), noise), atol=1e-5)


@torch.no_grad()
def test_first_convolution_is_that_of_slot_plus_position() -> None:
    decoder, slots = Decoder(), draw(3, 64) - 0.5
    plain = decoder.broadcast(slots[:, :, None, None] + decoder.position(9, 14))
    assert torch.allclose(decoder.broadcast_convolved(slots, 9, 14), plain, atol=1e-5)


@torch.no_grad()
def test_decoded_features_of_a_cell_depend_on_slot_and_place() -> None:
    decoder, slots = FeatureDecoder(7), draw(2, SLOTS, 64) - 0.5
    slots[1, 0] = slots[0, 2]
    decoded = decoder(slots, 4, 6)
    assert decoded.shape == (2, SLOTS, 8, 4, 6)
    assert torch.allclose(decoded[1, 0], decoded[0, 2], atol=1e-6)
    assert torch.allclose(decoded[..., 0, 0], decoder(slots, 2, 2)[..., 0, 0], atol=1e-6)  # a corner, in any grid
    assert (decoded[:, :, :, 0, 0] - decoded[:, :, :, 3, 0]).abs().amax() > 1e-3


def test_all_parameters_learn(model: SlotAttention) -> None:
    given = maps(model, 2, 12, 12)
    F.mse_loss(model(given, start())[0], given).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()] == []


def test_training_lowers_the_loss() -> None:
    found = train(SCENES, SLOTS, steps=40, batch=8, seed=1)
    assert len(found.losses) == 40 and found.seconds > 0
    assert found.model.slots == SLOTS
    assert np.mean(found.losses[-5:]) < 0.5 * np.mean(found.losses[:5])


def test_training_over_features_lowers_the_loss() -> None:
    def maps_of(images: Tensor) -> Tensor:
        return F.avg_pool2d(torch.cat([images, images.flip(1)], 1), 2)

    found = train(SCENES, maps_of=maps_of, features=6, steps=40, batch=8, learning_rate=2e-3, seed=1)
    assert np.mean(found.losses[-5:]) < 0.7 * np.mean(found.losses[:5])
    assert segment(found.model, maps_of(SCENES(range(2)).images)).shape == (2, 2, 8, 8)


def test_training_repeats_itself() -> None:
    first, second, other = (train(SCENES, steps=3, batch=2, seed=seed) for seed in (4, 4, 5))
    assert first.losses == second.losses != other.losses
    assert all(torch.equal(a, b) for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True))
    assert first.model.slots == SCENES.segments


def test_training_ends_with_its_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intarsia.baselines.training.process_time", itertools.count(step=0.125).__next__)
    found = train(SCENES, minutes=0.5 / 60, batch=1)
    assert len(found.losses) == 3 and found.seconds == 0.625  # the clock is read before each step, and twice at the end


def test_learning_rate_by_hand() -> None:
    """After 5,000, 10,000, 100,000 and 500,000 of the paper's 500,000 steps."""
    found = [learning_rate_at(progress) for progress in (0.01, 0.02, 0.2, 1)]
    assert found == pytest.approx([2e-4 * 0.5**0.05, 4e-4 * 0.5**0.1, 2e-4, 4e-4 / 32])
    assert learning_rate_at(0.2, highest=1e-2) == pytest.approx(5e-3)


def test_segments_do_not_depend_on_the_chunks(model: SlotAttention) -> None:
    given = maps(model, 3, 8, 8)
    masks = segment(model, given, seed=2)
    assert masks.shape == (3, SLOTS, 8, 8) and not masks.requires_grad
    assert torch.allclose(segment(model, given, seed=2, chunk=2), masks, atol=1e-6)
    assert not torch.allclose(segment(model, given, seed=3), masks, atol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {}, {"minutes": 0}, {"minutes": math.nan}, {"steps": 0}, {"steps": 2, "batch": 0}, {"steps": 2, "slots": 0},
        {"steps": 2, "features": -1}, {"steps": 2, "learning_rate": 0.0},
    ],
)  # fmt: skip
def test_bad_numbers_are_refused(settings: dict) -> None:
    with pytest.raises(InputError, match="must be"):
        train(SCENES, **settings)


def test_broken_training_is_reported() -> None:
    dark = Scenes("broken", None, 16, 16, 2, lambda indices: SceneSample(*(part * math.nan for part in squares(indices))))
    with pytest.raises(InputError, match="at step 1"):
        train(dark, steps=2, batch=1)
