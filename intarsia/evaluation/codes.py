"""Scores of a model's codes: how well an image is rendered from them, what each number carries, and what it changes.

Objects are numbered as in `Model.encode`. The numbers of an object's codes are counted from 0, first those of the shape, then
those of the texture.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.data import Scenes
from intarsia.evaluation.batches import batches
from intarsia.evaluation.means import mean, rounded
from intarsia.manipulation.compositing import over
from intarsia.masks import partition, visible_shapes
from intarsia.metrics import hard, known_pixels, matching, mean_squared_error, psnr, ssim, true_labels
from intarsia.metrics.disentanglement import FOLDS, dci, dimensions_in_use, mutual_information_gap, probe_r2
from intarsia.metrics.locality import FEWEST_PIXELS, Change, Changed, Found, Movement, measure
from intarsia.model import Model
from intarsia.networks.autoencoder import parts
from intarsia.recipes.settings import Vae
from intarsia.records.scores import Codes, FactorScore, NumberScore
from intarsia.rendering import Renderer
from intarsia.scene import Parts, Scene
from intarsia.shapes import Images, Masks, PerImage, Regions, one_hot

LOCALITY_SCENES = 200  # from the first test scene on
AT_ONCE = 25  # scenes in memory; with more, the decoders' activations don't fit the processor's cache and take twice the time


class CodedObjects(NamedTuple):
    """The `n` true objects of all scenes that a model has a code for.

    codes: `n d`, posterior means.
    kl: `n d`, the KL divergence of each number from the prior, in nats.
    factors: `n f`, the true factors of the objects, float64; f is 0 where they are not known.
    """

    codes: Tensor
    kl: Tensor
    factors: Tensor


def evaluate_codes(model: Model, scenes: Scenes, count: int) -> tuple[dict[str, Any], Codes]:
    """Score a model's codes on the first `count` scenes.

    Returns:
        Figures by name: `mse`, `psnr` (dB) and `ssim` of the rendered images. Over unit changes of every informative number of
        every object: `locality` in the bare fusion output, `locality_composited` in the image composited with it, and
        `others_moved`, how far the other objects' codes move. If the true factors are known: `factor_r2` (predicted from all
        numbers), `factor_r2_single` (from the best number alone), `dci_disentanglement`, `dci_completeness` and `mig`. None
        where there is nothing to average, such as the locality of a model without informative numbers.

        And what these are means of. All background segments count as one: no part of the background is an object.
    """
    scenes = scenes.with_one_background()
    per_image, objects = inspect(model, scenes, batches(count, AT_ONCE, "Reconstruction"))
    informative = dimensions_in_use(objects.kl) if len(objects.kl) else []
    movement = None
    if informative:
        indices = batches(min(count, LOCALITY_SCENES), AT_ONCE, "Locality")
        movement = measure(scenes, indices, partial(changes, model, informative), partial(find, model))
    names = list(scenes.factors([0])) if scenes.describe else []
    summary, factors = factor_scores(objects, names)
    figures = {name: mean(values) for name, values in per_image.items()} | summary_of(movement) | summary
    numbers = _numbers(objects.kl, informative, movement, model.recipe.vae)
    return figures, Codes(len(objects.codes), min(count, LOCALITY_SCENES), numbers, factors)


def inspect(model: Model, scenes: Scenes, indices: Iterable[range]) -> tuple[dict[str, PerImage], CodedObjects]:
    """The scores of each scene's reconstruction, and the objects that the model has a code for.

    Args:
        model: With trained codes.
        scenes: To take the images from.
        indices: Of the scenes, in batches.
    """
    device = model.device
    scores, found = [], []
    for batch in indices:
        images, true = (part.to(device) for part in scenes(batch))
        scene = model.encode(images)
        scores.append(reconstruction(images, model.render(scene), known_pixels(true)))
        found.append(_coded_objects(scene, true, _factors(scenes, batch)))
    per_image = {name: torch.cat([part[name] for part in scores]) for name in scores[0]}
    return per_image, CodedObjects(*(torch.cat(columns) for columns in zip(*found, strict=True)))


def reconstruction(images: Images, rendered: Images, known: Regions | None = None) -> dict[str, PerImage]:
    """How close rendered images are to the given ones in known pixels: mean squared error, PSNR in dB, SSIM."""
    metrics = {"mse": mean_squared_error, "psnr": psnr, "ssim": ssim}
    return {name: metric(images, rendered, known).cpu() for name, metric in metrics.items()}


@torch.no_grad()
def find(model: Model, images: Images) -> Found:
    """The segments of images in the order of `Model.encode`, and the code of each, the background's too, as an object's."""
    masks = partition(model.ordered_masks(images))
    padded = model.downsample(F.pad(masks, (0, 0, 0, 0, 0, 1)))
    objects, shapes, _ = parts(model.downsample(images), padded, model.recipe.vae.fill_with_mean)
    shape = model.autoencoder.shape.encode(shapes.flatten(0, 1))[0]
    texture = model.autoencoder.texture.encode(objects.flatten(0, 1))[0]
    return Found(masks, torch.cat([shape, texture], 1).unflatten(0, masks.shape[:2]))


def changes(model: Model, numbers: list[int], images: Images) -> tuple[Tensor, list[Change]]:
    """Unit changes of the given numbers of every object, object by object, for `intarsia.metrics.locality`.

    The images come in two versions: the bare fusion output, and the given images with it laid over the changed place.
    """
    scene, renderer = model.encode(images), Renderer(model)
    decoded = renderer.decode(scene)
    objects, shape_numbers = range(scene.shape.shape[1]), scene.shape.shape[2]

    def render(object: int, number: int, rows: Tensor) -> Changed:
        was = Parts(*(getattr(decoded, name)[rows] for name in ("shapes", "textures", "background")))
        part, dimension = ("shape", number) if number < shape_numbers else ("texture", number - shape_numbers)
        codes = getattr(scene, part)[rows, object].clone()
        codes[:, dimension] += 1
        kind = f"{part}s"
        pictures = getattr(was, kind).clone()
        pictures[:, object] = renderer.picture(part, codes).view_as(pictures[:, object])
        now = Parts(**{"shapes": was.shapes, "textures": was.textures, "background": was.background, kind: pictures})
        fused, region = renderer.fuse(now), _changed_region(was.shapes, now.shapes, scene.masks[rows], object)
        visible = visible_shapes(now.shapes)
        drawn = hard(torch.cat([visible, 1 - visible.sum(1, keepdim=True)], 1)) == object
        return Changed(torch.stack([fused, over(images[rows], fused, region)]), drawn)

    changed = [Change(object, partial(render, object, number)) for object in objects for number in numbers]
    return torch.stack([renderer.fuse(decoded), images]), changed


def summary_of(movement: Movement | None) -> dict[str, float | None]:
    """The means over all changes that count, by name, for each version of the images."""
    if movement is None:
        return dict.fromkeys(("locality", "locality_composited", "others_moved"))
    names = ("locality", "locality_composited")[: len(movement.locality)]
    local = {name: mean(values) for name, values in zip(names, movement.locality, strict=True)}
    return local | {"others_moved": mean(movement.others)}


def factor_scores(objects: CodedObjects, names: list[str]) -> tuple[dict[str, float | None], dict[str, FactorScore]]:
    """How well the codes predict the true factors: the means by name, and the scores of each factor.

    Both are empty if there are too few objects or factors.
    """
    if len(objects.codes) < 2 * FOLDS or len(names) < 2:
        return {}, {}
    codes, factors = objects.codes.cpu(), objects.factors
    probe, parted, gaps = probe_r2(codes, factors), dci(codes, factors), mutual_information_gap(codes, factors)
    summary = {
        "factor_r2": mean(probe.every),
        "factor_r2_single": mean(probe.single.amax(0)),
        "dci_disentanglement": rounded(torch.tensor(parted.disentanglement)),
        "dci_completeness": mean(parted.completeness),
        "mig": mean(gaps),
    }
    columns = zip(names, probe.every, parted.completeness, gaps, probe.single.mT, strict=True)
    return summary, {
        name: FactorScore(rounded(r2), rounded(completeness), rounded(gap), [rounded(value) for value in single])
        for name, r2, completeness, gap, single in columns
    }


def number_scores(model: Model, images: Images) -> list[NumberScore]:
    """What each number of the objects' codes carries in some images. What its changes do is left out: that takes the truth."""
    scene = model.encode(images.to(model.device))
    present = scene.masks[:, :-1].sum((2, 3)) >= FEWEST_PIXELS
    return _numbers(torch.cat([scene.shape_kl, scene.texture_kl], 2)[present], [], None, model.recipe.vae)


def _numbers(kl: Tensor, informative: list[int], movement: Movement | None, sizes: Vae) -> list[NumberScore]:
    """The scores of every number of an object's codes."""
    lengths: dict[Literal["shape", "texture"], int] = {"shape": sizes.shape_dimension, "texture": sizes.texture_dimension}
    numbers = [(part, dimension) for part, length in lengths.items() for dimension in range(length)]
    scores = []
    for number, (part, dimension) in enumerate(numbers):
        own = None
        if movement is not None and number in informative:
            every = slice(informative.index(number), None, len(informative))  # of every object
            own = Movement(movement.locality[:, :, every], movement.others[:, every])
        scores.append(NumberScore(part, dimension, mean(kl[:, number].double()), **summary_of(own)))
    return scores


def _coded_objects(scene: Scene, true: Masks, factors: Tensor) -> CodedObjects:
    """The true objects of a batch that are visible enough and have a segment that is not the model's background.

    Those of an image are in the order of their first pixels, so that their numbers change nothing.
    """
    truth, k, objects = true_labels(true), true.shape[1], scene.shape.shape[1]
    places = one_hot(truth, k)[:, 1:].flatten(2)
    segments = matching(truth, hard(partition(scene.masks)), k)[:, 1:]
    counted = (places.sum(2) >= FEWEST_PIXELS) & (segments >= 0) & (segments < objects)
    image, which = counted.nonzero(as_tuple=True)
    order = (image * places.shape[2] + places.argmax(2)[image, which]).argsort()
    image, which = image[order], which[order]
    own = segments[image, which]
    codes, kl = torch.cat([scene.shape, scene.texture], 2), torch.cat([scene.shape_kl, scene.texture_kl], 2)
    return CodedObjects(codes[image, own], kl[image, own], factors[image.cpu(), which.cpu()])


def _factors(scenes: Scenes, indices: range) -> Tensor:
    """The true factors of the objects of these scenes, `b n f`."""
    if scenes.describe is None:
        return torch.empty(len(indices), scenes.segments - 1, 0, dtype=torch.double)
    return torch.from_numpy(np.stack(list(scenes.factors(indices).values()), -1))


def _changed_region(was: Tensor, now: Tensor, masks: Masks, object: int) -> Tensor:
    """Where one object changed, for shapes `b n h w` of many scenes before and after: what it covers, and what it hides."""
    before, after = visible_shapes(was), visible_shapes(now)
    others = (before - after).abs()
    others[:, object] = torch.stack([before[:, object], after[:, object], masks[:, object]]).amax(0)
    return others.amax(1)
