"""What holds for every segmenter and every inpainter."""

import copy
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from intarsia.model import Model
from intarsia.shapes import Edges, Images, Logits, Masks


class SegmenterContract:
    """Tests of a segmenter. Fixture `model`: a model that has it."""

    @torch.no_grad()
    def test_segmenter_gives_a_logit_per_segment_and_pixel(self, model: Model) -> None:
        images, _ = scene(2, model)
        logits = logits_of(model, images)
        assert logits.shape == (2, model.recipe.segments, *images.shape[2:])
        assert logits.dtype == torch.float32 and logits.isfinite().all()
        with torch.autocast("cpu", torch.bfloat16):
            assert logits_of(model, images).isfinite().all()
        assert not torch.allclose(logits[0], logits[1], atol=1e-4)  # it looks at the image

    @torch.no_grad()
    def test_segmenter_gives_an_image_the_same_segments_always(self, model: Model) -> None:
        images, _ = scene(2, model)
        torch.manual_seed(1)
        first = logits_of(model, images)
        torch.manual_seed(2)
        assert torch.equal(logits_of(model, images), first)

    @torch.no_grad()
    def test_segmenter_keeps_images_apart(self, model: Model) -> None:
        images, _ = scene(3, model)
        together = logits_of(model, images)
        for b in range(3):
            assert torch.allclose(logits_of(model, images[b : b + 1])[0], together[b], atol=1e-5)

    def test_segmenter_learns_everywhere(self, model: Model) -> None:
        images, _ = scene(2, model)
        model.segmenter.train()
        assert_all_parameters_learn(model.segmenter, model.segmenter(images, *model.maps(images)))

    @torch.no_grad()
    def test_segmenter_takes_any_memory_format(self, model: Model) -> None:
        images, _ = scene(2, model)
        logits = logits_of(model, images)
        assert torch.allclose(logits_of(model, images.contiguous(memory_format=torch.channels_last)), logits, atol=1e-5)
        model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # absent from PyTorch's types
        assert torch.allclose(logits_of(model, images), logits, atol=1e-5)

    @torch.no_grad()
    def test_segmenter_is_saved_and_loaded(self, model: Model, tmp_path: Path) -> None:
        images, _ = scene(2, model)
        logits, other = logits_of(model, images), copy.deepcopy(model.segmenter)
        for parameter in other.parameters():
            parameter.zero_()
        model.save(tmp_path)
        assert torch.equal(logits_of(Model.load(tmp_path, segmenter=other, inpainter=model.inpainter), images), logits)


class InpainterContract:
    """Tests of an inpainter of pixels. Fixture `model`: a model that has it."""

    @torch.no_grad()
    def test_inpainter_guesses_the_whole_image_for_every_region(self, model: Model) -> None:
        images, edges = scene(2, model)
        size = images.shape[2:]
        for regions in (1, 3):
            guesses = model.inpainter(images, hidden_boxes(2, regions, model), edges)
            assert guesses.shape == (2, regions, 3, *size)
            assert guesses.dtype == torch.float32 and guesses.isfinite().all()
        with torch.autocast("cpu", torch.bfloat16):
            assert model.inpainter(images, hidden_boxes(2, 2, model), edges).isfinite().all()

    @torch.no_grad()
    def test_inpainter_keeps_images_and_regions_apart(self, model: Model) -> None:
        images, edges = scene(3, model)
        hidden = hidden_boxes(3, 2, model)
        together = model.inpainter(images, hidden, edges)
        for b in range(3):
            for k in range(2):
                alone = model.inpainter(images[b : b + 1], hidden[b : b + 1, k : k + 1], edges[b : b + 1])
                assert torch.allclose(alone[0, 0], together[b, k], atol=1e-5)

    @torch.no_grad()
    def test_hidden_pixels_do_not_influence_the_guess(self, model: Model) -> None:
        images, edges = scene(2, model)
        hidden = hidden_boxes(2, 2, model)
        seen = model.inpainter(images, hidden, edges)
        covered = hidden.amin(1, keepdim=True) > 0  # by both regions
        changed = torch.where(covered, 1 - images, images)
        assert not torch.equal(changed, images)
        assert torch.equal(model.inpainter(changed, hidden, edges), seen)
        shown = torch.where(hidden.amax(1, keepdim=True) > 0, images, 1 - images)
        assert not torch.allclose(model.inpainter(shown, hidden, edges), seen, atol=1e-4)

    @torch.no_grad()
    def test_the_guess_of_everything_knows_the_edges_alone(self, model: Model) -> None:
        images, edges = scene(2, model)
        everything = torch.ones(2, 1, *images.shape[2:])
        guesses = model.inpainter(images, everything, edges)
        assert torch.equal(model.inpainter(1 - images, everything, edges), guesses)
        assert not torch.allclose(model.inpainter(images, everything, 1 - edges), guesses, atol=1e-4)

    def test_inpainter_learns_everywhere_and_teaches_the_masks(self, model: Model) -> None:
        images, edges = scene(2, model)
        hidden = draw(2, 2, *images.shape[2:], seed=5).requires_grad_()
        assert_all_parameters_learn(model.inpainter, model.inpainter(images, hidden, edges))
        assert hidden.grad is not None and hidden.grad.isfinite().all() and hidden.grad.any(-1).all()


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Random numbers in [0, 1], the same for the same seed."""
    return torch.rand(shape, generator=Generator().manual_seed(seed))


def scene(count: int, model: Model, seed: int = 0) -> tuple[Images, Edges]:
    """Random images of a model's size, and any edges."""
    size = (model.recipe.height, model.recipe.width)
    return draw(count, 3, *size, seed=seed), (draw(count, 2, *size, seed=seed + 100) > 0.8).float()


def hidden_boxes(count: int, regions: int, model: Model) -> Masks:
    """Hard boxes `count regions h w`, of different places and sizes."""
    height, width = model.recipe.height, model.recipe.width
    hidden = torch.zeros(count, regions, height, width)
    for b in range(count):
        for k in range(regions):
            hidden[b, k, 3 * b + 2 * k : height // 2 + 3 * b, 5 * k : width // 2 + 5 * k - b] = 1
    return hidden


def logits_of(model: Model, images: Images) -> Logits:
    """The segmenter's logits, with a backbone's maps if the recipe asks for them."""
    logits: Tensor = model.segmenter.eval()(images, *model.maps(images))
    return logits


def assert_all_parameters_learn(network: nn.Module, output: Tensor) -> None:
    """Fail if a parameter that is to be trained gets no gradient from an output."""
    (output * draw(*output.shape, seed=9)).sum().backward()
    learned = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    for name, parameter in learned.items():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    idle = [name for name, parameter in learned.items() if parameter.grad is None or not parameter.grad.any()]
    assert not idle
