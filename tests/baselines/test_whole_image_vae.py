import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from intarsia.baselines.whole_image_vae import (
    DIMENSION,
    Posterior,
    WholeImageVae,
    changes,
    decode,
    encode,
    learning_rate_at,
    load,
    save,
    train,
)
from intarsia.data import Scenes, SceneSample
from intarsia.errors import InputError
from intarsia.objectives import divergence
from intarsia.shapes import one_hot


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=Generator().manual_seed(seed))


def halves(indices: np.ndarray) -> SceneSample:
    """Red above blue or blue above red, depending on the index."""
    labels = (torch.arange(16)[:, None] // 8 + torch.from_numpy(indices)[:, None, None]).expand(-1, -1, 16) % 2
    colours = torch.tensor([[0.1, 0.2, 0.7], [0.9, 0.2, 0.1]])
    return SceneSample(colours[labels].permute(0, 3, 1, 2), one_hot(labels, 2))


SCENES = Scenes("halves", None, 16, 16, 2, halves)


@pytest.fixture(scope="module")
def model() -> WholeImageVae:
    return WholeImageVae(32, 48, dimension=7)


@torch.no_grad()
@pytest.mark.parametrize("autocast", [False, True])
def test_shapes_types_and_ranges(model: WholeImageVae, autocast: bool) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        rendered, posterior = model(draw(2, 3, 32, 48), torch.zeros(2, 7))
    assert rendered.shape == (2, 3, 32, 48) and posterior.mean.shape == posterior.log_variance.shape == (2, 7)
    assert rendered.dtype == posterior.mean.dtype == torch.float32
    assert rendered.min() > 0 and rendered.max() < 1


def test_the_form_is_the_originals() -> None:
    """Weights and biases of each layer of the original's objects' encoder and decoder, for 64x64 pixels and 65 numbers."""
    encoder = (4 * 4 * 3 + 1) * 32 + 3 * (4 * 4 * 32 + 1) * 32 + (512 + 1) * 256 + (256 + 1) * 256 + 2 * (256 + 1) * 65
    decoder = (65 + 1) * 256 + (256 + 1) * 512 + 3 * (4 * 4 * 32 + 1) * 32 + (4 * 4 * 32 + 1) * 3
    whole = WholeImageVae()
    assert whole.dimension == DIMENSION == 65
    assert sum(parameter.numel() for parameter in whole.encoder.parameters()) == encoder
    assert sum(parameter.numel() for parameter in whole.decoder.parameters()) == decoder


@torch.no_grad()
def test_noise_is_scaled_by_the_posterior(model: WholeImageVae) -> None:
    images, noise = draw(2, 3, 32, 48), draw(2, 7)
    mean, log_variance = encode(model, images)
    codes = mean + log_variance.exp().sqrt() * noise
    assert torch.allclose(model(images, noise)[0], decode(model, codes), atol=1e-6)


def test_divergence_by_hand() -> None:
    """Of N(m, s^2) from N(0, 1): (m^2 + s^2 - 1) / 2 - log s."""
    posterior = Posterior(torch.tensor([[0.0, 2, 0]]), torch.tensor([[0.0, 0, math.log(4)]]))
    assert divergence(*posterior).tolist() == [pytest.approx([0, 2, 1.5 - math.log(2)])]


def test_all_parameters_learn(model: WholeImageVae) -> None:
    rendered, posterior = model(draw(2, 3, 32, 48), draw(2, 7))
    (rendered.sum() + divergence(*posterior).sum()).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()] == []


def test_it_learns_which_half_is_red() -> None:
    found = train(SCENES, dimension=8, beta=0.1, steps=300, batch=8, seed=1)
    assert found.seconds > 0 and found.model.dimension == 8
    assert np.mean(found.losses[-10:]) < 0.2 * np.mean(found.losses[:10])
    images = SCENES(range(4)).images
    posterior = encode(found.model, images)
    error = (decode(found.model, posterior.mean) - images).abs().mean((1, 2, 3))
    assert error.max() < 0.05  # of the mean image it would be 0.23
    assert divergence(*posterior).mean(0).max() > 0.5


def test_a_large_beta_empties_the_code() -> None:
    found = train(SCENES, dimension=8, beta=1e4, steps=60, batch=8)
    posterior = encode(found.model, SCENES(range(4)).images)
    assert divergence(*posterior).max() < 0.05


def test_training_repeats_itself() -> None:
    first, second, other = (train(SCENES, steps=3, batch=2, seed=seed) for seed in (4, 4, 5))
    assert first.losses == second.losses != other.losses
    assert all(torch.equal(a, b) for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True))


def test_training_ends_with_its_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intarsia.baselines.training.process_time", itertools.count(step=0.125).__next__)
    found = train(SCENES, minutes=0.5 / 60, batch=1)
    assert len(found.losses) == 3 and found.seconds == 0.625  # the clock is read before each step, and twice at the end


def test_learning_rate_by_hand() -> None:
    assert [learning_rate_at(progress) for progress in (0, 0.5, 1)] == pytest.approx([0, 5e-4, 0])
    assert learning_rate_at(0.01) == pytest.approx(5e-4, rel=1e-3)


def test_codes_do_not_depend_on_the_chunks(model: WholeImageVae) -> None:
    images = draw(5, 3, 32, 48)
    whole, parts = encode(model, images), encode(model, images, chunk=2)
    assert torch.allclose(whole.mean, parts.mean, atol=1e-6) and not whole.mean.requires_grad
    assert torch.allclose(decode(model, whole.mean), decode(model, whole.mean, chunk=2), atol=1e-6)


def test_changes_are_of_one_dimension_each(model: WholeImageVae) -> None:
    images = draw(2, 3, 32, 48)
    before, changed = changes(model, images, [4, 1], amount=2.0)
    mean = encode(model, images).mean
    assert torch.equal(before[0], decode(model, mean))
    rows = torch.tensor([1])
    for dimension, (segment, render) in zip([4, 1], changed, strict=True):
        codes = mean.clone()
        codes[:, dimension] += 2
        found = render(rows)
        assert segment is None and found.region is None and torch.equal(found.images[0], decode(model, codes[rows]))


def test_what_is_saved_is_loaded(model: WholeImageVae, tmp_path: Path) -> None:
    save(model, tmp_path / "vae.safetensors")
    again = load(tmp_path / "vae.safetensors")
    assert (again.height, again.width, again.dimension) == (32, 48, 7)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


def test_what_is_no_such_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vae.safetensors"
    with pytest.raises(InputError, match="holds no whole-image VAE"):
        load(path)
    path.write_text("nothing")
    with pytest.raises(InputError, match="holds no whole-image VAE"):
        load(path)


@pytest.mark.parametrize(
    "settings",
    [{}, {"minutes": 0}, {"steps": 2, "batch": 0}, {"steps": 2, "dimension": 0}, {"steps": 2, "beta": -1.0}],
)
def test_bad_numbers_are_refused(settings: dict) -> None:
    with pytest.raises(InputError, match="must be"):
        train(SCENES, **settings)


def test_images_of_odd_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="multiples of 16"):
        WholeImageVae(64, 40)
