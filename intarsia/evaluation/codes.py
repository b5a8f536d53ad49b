"""How good a model's codes are: what they keep of an image, what each number of them tells, and what it changes.

Objects are numbered as `Model.encode` numbers them. The numbers of an object's codes are counted through: those of the shape,
then those of the texture.
"""

import math
from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.data import Scenes
from intarsia.evaluation.parts import in_parts
from intarsia.manipulation.compositing import over
from intarsia.masks import visible_shapes
from intarsia.metrics import hard, matching, psnr, ssim
from intarsia.metrics.disentanglement import FOLDS, dci, dimensions_in_use, mutual_information_gap, probe_r2
from intarsia.metrics.locality import FEWEST_PIXELS, Change, Changed, Found, Movement, measure
from intarsia.model import Model
from intarsia.networks.autoencoder import parts
from intarsia.recipes.settings import Vae
from intarsia.rendering import Renderer
from intarsia.scene import Parts, Scene
from intarsia.shapes import Images, Masks, PerImage, one_hot

__all__ = ["AT_ONCE", "LOCALITY_SCENES", "CodedObjects", "changes", "evaluate_codes", "find", "inspect", "reconstruction"]

LOCALITY_SCENES = 200  # from the first test scene on
AT_ONCE = 25  # scenes in memory; of more, the decoders' activations leave the processor's cache and take twice the time


class CodedObjects(NamedTuple):
    """The true objects that a model has a code for, `n` of all scenes together.

    codes: `n d`, posterior means.
    kl: `n d`, nats: how much each number tells.
    factors: `n f`, what determines the objects, float64; f is 0 where nobody knows.
    """

    codes: Tensor
    kl: Tensor
    factors: Tensor


def evaluate_codes(model: Model, scenes: Scenes, count: int) -> tuple[dict[str, float | None], dict[str, Any]]:
    """Every figure of a model's codes on the first `count` scenes, and of what they are the means.

    Returns:
        Figures: `mse`, `psnr` (dB) and `ssim` of the rendered images; `locality` of a unit change of every informative number
        of every object in the bare fusion output, `locality_composited` in the image composited with it, `others_moved`, how
        far the other objects' codes move; where the scenes' factors are known, `factor_r2` and `factor_r2_single` (told by all
        numbers, by the best one alone), `dci_disentanglement`, `dci_completeness` and `mig`. None where there is nothing to
        take the mean of, such as the locality of a model none of whose numbers is informative.

        And `objects`, their number; `locality_images`; `numbers`, for each its part, dimension, mean nats, and the three
        figures of a change of it; `factors`, for each by name `r2`, `completeness`, `mig`, and `single`, R2 by each number.
    """
    per_image, objects = inspect(model, scenes, in_parts(count, AT_ONCE, "Reconstruction"))
    informative = dimensions_in_use(objects.kl) if len(objects.kl) else []
    movement = None
    if informative:
        batches = in_parts(min(count, LOCALITY_SCENES), AT_ONCE, "Locality")
        movement = measure(scenes, batches, partial(changes, model, informative), partial(find, model))
    names = list(scenes.factors([0])) if scenes.describe else []
    summary, factors = factor_scores(objects, names)
    figures = {name: rounded(values.mean()) for name, values in per_image.items()}
    return figures | summary_of(movement) | summary, {
        "objects": len(objects.codes),
        "locality_images": min(count, LOCALITY_SCENES),
        "numbers": _numbers(objects.kl, informative, movement, model.recipe.vae),
        "factors": factors,
    }


def inspect(model: Model, scenes: Scenes, batches: Iterable[range]) -> tuple[dict[str, PerImage], CodedObjects]:
    """The reconstruction of each scene with these indices, and the objects that the model has a code for."""
    device = model.device
    scores, found = [], []
    for indices in batches:
        images, true = (part.to(device) for part in scenes(indices))
        scene = model.encode(images)
        scores.append(reconstruction(images, model.render(scene)))
        found.append(_coded_objects(scene, true, _factors(scenes, indices)))
    per_image = {name: torch.cat([part[name] for part in scores]) for name in scores[0]}
    return per_image, CodedObjects(*(torch.cat(columns) for columns in zip(*found, strict=True)))


def reconstruction(images: Images, rendered: Images) -> dict[str, PerImage]:
    """How close rendered images are to the images: mean squared error, PSNR in dB, SSIM."""
    mse = (images.double() - rendered.double()).square().mean((1, 2, 3))
    return {"mse": mse.cpu(), "psnr": psnr(images, rendered).cpu(), "ssim": ssim(images, rendered).cpu()}


@torch.no_grad()
def find(model: Model, images: Images) -> Found:
    """The segments of images as `Model.encode` orders them, and the codes of each as if it were an object's."""
    masks = _whole(model.ordered_masks(images))
    padded = model.downsample(F.pad(masks, (0, 0, 0, 0, 0, 1)))
    objects, shapes, _ = parts(model.downsample(images), padded, model.recipe.vae.fill_with_mean)
    shape = model.autoencoder.shape.encode(shapes.flatten(0, 1))[0]
    texture = model.autoencoder.texture.encode(objects.flatten(0, 1))[0]
    return Found(masks, torch.cat([shape, texture], 1).unflatten(0, masks.shape[:2]))


def changes(model: Model, numbers: list[int], images: Images) -> tuple[Tensor, list[Change]]:
    """Unit changes of these numbers of every object, object by object, as `intarsia.metrics.locality` has it, in two versions.

    First the bare fusion output, then the images composited with it.
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
    """The means over all changes that count, of all versions of the images."""
    if movement is None:
        return dict.fromkeys(("locality", "locality_composited", "others_moved"))
    names = ("locality", "locality_composited")[: len(movement.locality)]
    local = {name: rounded(values.nanmean()) for name, values in zip(names, movement.locality, strict=True)}
    return local | {"others_moved": rounded(movement.others.nanmean())}


def factor_scores(objects: CodedObjects, names: list[str]) -> tuple[dict[str, float | None], dict[str, Any]]:
    """How well the factors are told by the codes: the summary, and the scores of each; nothing where too few are known."""
    if len(objects.codes) < 2 * FOLDS or len(names) < 2:
        return {}, {}
    codes, factors = objects.codes.cpu(), objects.factors
    probe, parted, gaps = probe_r2(codes, factors), dci(codes, factors), mutual_information_gap(codes, factors)
    summary = {
        "factor_r2": probe.every.nanmean(),
        "factor_r2_single": probe.single.amax(0).nanmean(),
        "dci_disentanglement": torch.tensor(parted.disentanglement),
        "dci_completeness": parted.completeness.nanmean(),
        "mig": gaps.nanmean(),
    }
    return {name: rounded(value) for name, value in summary.items()}, {
        name: {
            "r2": rounded(probe.every[number]),
            "completeness": rounded(parted.completeness[number]),
            "mig": rounded(gaps[number]),
            "single": [rounded(value) for value in probe.single[:, number]],
        }
        for number, name in enumerate(names)
    }


def rounded(value: Tensor) -> float | None:
    """A figure to six digits; None, which JSON can write, for what is no finite number."""
    return round(float(value), 6) if math.isfinite(value) else None


def _numbers(kl: Tensor, informative: list[int], movement: Movement | None, sizes: Vae) -> list[dict[str, Any]]:
    """For every number of an object's codes what it is, tells and changes."""
    found: list[dict[str, Any]] = [
        {"part": part, "dimension": dimension}
        for part, length in (("shape", sizes.shape_dimension), ("texture", sizes.texture_dimension))
        for dimension in range(length)
    ]
    for number, row in enumerate(found):
        row["nats"] = rounded(kl[:, number].double().mean())
        own = None
        if movement is not None and number in informative:
            every = slice(informative.index(number), None, len(informative))  # of every object
            own = Movement(movement.locality[:, :, every], movement.others[:, every])
        row |= summary_of(own)
    return found


def _coded_objects(scene: Scene, true: Masks, factors: Tensor) -> CodedObjects:
    """The objects of a batch: those of which enough is seen, and whose segment is not taken for the background."""
    truth, k, objects = hard(true), true.shape[1], scene.shape.shape[1]
    segments = matching(truth, hard(_whole(scene.masks)), max(k, objects + 1))[:, 1:k]
    there = (one_hot(truth, k).sum((2, 3))[:, 1:] >= FEWEST_PIXELS) & (segments < objects)
    image, which = there.nonzero(as_tuple=True)
    own = segments[image, which]
    codes, kl = torch.cat([scene.shape, scene.texture], 2), torch.cat([scene.shape_kl, scene.texture_kl], 2)
    return CodedObjects(codes[image, own], kl[image, own], factors[image.cpu(), which.cpu()])


def _factors(scenes: Scenes, indices: range) -> Tensor:
    """What determines the objects of these scenes, `b n f`."""
    if scenes.describe is None:
        return torch.empty(len(indices), scenes.segments - 1, 0, dtype=torch.double)
    return torch.from_numpy(np.stack(list(scenes.factors(indices).values()), -1))


def _whole(masks: Masks) -> Masks:
    """Opened masks with what the opening removed added to the background, the last one, where the autoencoder has it too."""
    objects = masks[:, :-1]
    return torch.cat([objects, 1 - objects.sum(1, keepdim=True)], 1)


def _changed_region(was: Tensor, now: Tensor, masks: Masks, object: int) -> Tensor:
    """`manipulation.compositing.changed_region` for shapes `b n h w` of many scenes, of each of which one object changed."""
    before, after = visible_shapes(was), visible_shapes(now)
    others = (before - after).abs()
    others[:, object] = torch.stack([before[:, object], after[:, object], masks[:, object]]).amax(0)
    return others.amax(1)
