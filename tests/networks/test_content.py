"""Content: what is measured, and the maximum autocorrelation factors."""

import math

import pytest
import torch
from torch import Generator

from intarsia.networks.content import Content, factors


def images(count: int = 8, height: int = 32, width: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=Generator().manual_seed(seed))


def test_pixels_are_the_image():
    found = images()
    assert Content()(found)[0] is found and not Content().state_dict()


@pytest.mark.parametrize(("kind", "count"), [("means", 3), ("chromaticity", 2), ("statistics", 3)])
def test_content_of_the_images_it_was_fitted_on_has_mean_0_and_unit_uncorrelated_factors(kind, count):
    content = Content(kind, (2, 4), (count, count))
    content.fit(images(64))
    for maps, size in zip(content(images(64)), (16, 8), strict=True):
        assert maps.shape == (64, count, size, size)
        cells = maps.permute(1, 0, 2, 3).flatten(1)
        torch.testing.assert_close(cells.mean(1), torch.zeros(count), atol=1e-4, rtol=0)
        torch.testing.assert_close(torch.cov(cells), torch.eye(count), atol=0.02, rtol=0)  # but for the ridge


def test_mean_colours_by_hand():
    content = Content("means", (2,), (3,))  # not fitted: the factors are the colours themselves
    image = torch.zeros(1, 3, 2, 4)
    image[0, 0] = torch.tensor([[1.0, 0, 1, 1], [0, 0, 1, 1]])
    assert content(image)[0][0, :, 0].tolist() == [[0.25, 1.0], [0, 0], [0, 0]]


def test_chromaticity_hardly_depends_on_brightness():
    content = Content("chromaticity", (2,), (2,))
    bright = content(0.2 + 0.8 * images(4))[0]
    dim = content(0.8 * (0.2 + 0.8 * images(4)))[0]
    assert (bright - dim).abs().max() < 0.1 * (bright.amax() - bright.amin())


def test_the_first_factor_is_the_slow_signal():
    """Two signals, one a wave across the image, one noise, are mixed in two channels; the first factor takes the wave out."""
    wave = torch.sin(torch.arange(64) * (2 * math.pi / 64)).expand(16, 64, 64)
    noise = torch.randn(16, 64, 64, generator=Generator().manual_seed(0))
    maps = torch.stack([wave + noise, wave - 2 * noise], 1).double()
    mean, basis = factors(maps, 4, 2)
    first = (maps.permute(0, 2, 3, 1) - mean) @ basis[:, 0]
    correlation = torch.corrcoef(torch.stack([first.flatten(), wave.double().flatten()]))[0, 1]
    assert abs(float(correlation)) > 0.999
    assert (basis.gather(0, basis.abs().argmax(0, keepdim=True)) > 0).all()


def test_factors_do_not_depend_on_the_scale_of_a_channel():
    maps = images(16).double()
    one, other = factors(maps, 4, 3)[1], factors(maps * torch.tensor([1.0, 7, 0.2]).view(1, 3, 1, 1), 4, 3)[1]
    scaled = other * torch.tensor([1.0, 7, 0.2], dtype=torch.double)[:, None]
    assert (one.abs() - scaled.abs()).abs().max() < 0.05 * one.abs().max()  # but for the ridge


def test_features_are_projected_too():
    maps = [
        torch.randn(4, 24, 16, 16, generator=Generator().manual_seed(0)),
        torch.randn(4, 40, 8, 8, generator=Generator().manual_seed(1)),
    ]
    content = Content("features", (4, 8), (12, 8), (24, 40))
    content.fit(images(4), maps)
    assert [part.shape for part in content(images(4), maps)] == [(4, 12, 16, 16), (4, 8, 8, 8)]


def test_the_factors_are_part_of_the_weights():
    fitted, loaded = Content("statistics", (2, 4), (6, 6)), Content("statistics", (2, 4), (6, 6))
    fitted.fit(images())
    loaded.load_state_dict(fitted.state_dict())
    assert all(torch.equal(*pair) for pair in zip(fitted(images(2)), loaded(images(2)), strict=True))


def test_factors_of_images_of_few_cells_are_numbers():
    """Images of 32 pixels have 4 cells of 8: those that are compared are nearer then."""
    content = Content("means", (4, 8), (3, 3))
    content.fit(images(32))
    assert all(value.isfinite().all() and value.abs().sum() > 0 for value in content.state_dict().values())
