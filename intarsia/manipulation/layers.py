"""Layers: what each object of a scene looks like and how opaque it is there, and the background behind all of them.

An object shows its own pixels (`cutouts`) as long as its codes are those that it was encoded with; else it is decoded. Both are
drawn where its transform says. Decoded pixels also complete a cut-out where something else hid the object in its own image. The
background shows its own pixels, too. Where objects were it is filled (`filling`) from the decoded background.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from intarsia.manipulation.cutouts import INSIDE, cut_out, widened
from intarsia.manipulation.filling import fill
from intarsia.masks import open_masks, resample
from intarsia.rendering import Renderer
from intarsia.scene import Scene

PARTS = "texture", "shape"
PRESENT = 0.5  # an object that is nowhere more opaque than this is empty
WIDER = 3  # px that a filled place is wider than the mask


class Layers(NamedTuple):
    """The objects of a scene as pictures of the image's size, the front one first."""

    opacities: Tensor
    """`n h w` in [0, 1], including what other objects hide."""
    colours: Tensor
    """`n 3 h w` in [0, 1]."""


class Placement(NamedTuple):
    """The area of a shape, and its centre of mass."""

    area: float
    """Pixels."""
    x: float
    """Pixels to the right of the leftmost pixel; not a number for an empty shape."""
    y: float
    """Pixels below the topmost pixel."""


def placements(shapes: Tensor) -> list[Placement]:
    """The placement of each of the shapes or masks `n h w` in [0, 1]."""
    areas = shapes.sum((1, 2))
    rows, columns = (torch.arange(size, device=shapes.device, dtype=shapes.dtype) for size in shapes.shape[1:])
    across, down = (shapes.sum(1) @ columns / areas).tolist(), (shapes.sum(2) @ rows / areas).tolist()
    return [Placement(*each) for each in zip(areas.tolist(), across, down, strict=True)]


def is_decoded(scene: Scene, object: int) -> bool:
    """Whether the object's codes differ from those that it was encoded with, so that its own pixels no longer show it."""
    origin = scene.origins[object]
    return origin is None or not all(torch.equal(getattr(scene, part)[object], getattr(origin, part)) for part in PARTS)


def layers(renderer: Renderer, scene: Scene) -> Layers:
    """The layers of an encoded or edited scene."""
    found = []
    for object, transform in enumerate(scene.transform):
        shown = appearance(renderer, scene, object)
        found.append(torch.cat([resample(shown[:3], transform, "border"), resample(shown[3:], transform, "zeros")]))
    pictures = torch.stack(found) if found else scene.image.new_zeros(0, 4, *scene.image.shape[1:])
    return Layers(pictures[:, 3], pictures[:, :3])


@torch.no_grad()
def appearance(renderer: Renderer, scene: Scene, object: int) -> Tensor:
    """The colours and the opacity of an object before its transform, `4 h w`."""
    origin = scene.origins[object]
    if origin is None or is_decoded(scene, object):
        return torch.cat([renderer.pictures(part, getattr(scene, part)[[object]])[0] for part in PARTS])
    if origin.others is None:
        return torch.cat([origin.image, origin.mask[None]])

    def completed(image: Tensor, mask: Tensor, others: Tensor, shape_code: Tensor, texture_code: Tensor) -> Tensor:
        cutout = cut_out(image, mask, others)
        if not renderer.model.has_codes:
            return cutout
        shape = renderer.picture("shape", shape_code)[0]
        hidden = open_masks(((torch.minimum(shape, others) > INSIDE) & (mask <= INSIDE)).float()[None, None])[0, 0] > 0
        colours = fill(cutout[:3], hidden, renderer.picture("texture", texture_code))
        return torch.cat([colours, torch.where(hidden, shape, cutout[3])[None]])

    return renderer.keep("cutout", completed, origin.image, origin.mask, origin.others, origin.shape, origin.texture)


@torch.no_grad()
def backdrop(renderer: Renderer, encoded: Scene, background: Tensor) -> Tensor:
    """The background `3 h w` of an encoded scene, also behind the objects.

    It is the image's own where there are no objects, unless its code became another one, `background`.
    """

    def filled(image: Tensor, code: Tensor, place: Tensor) -> Tensor:
        guess = renderer.picture("background", code) if renderer.model.has_codes else image.mean((1, 2), keepdim=True)
        return fill(image, place > 0, guess.expand_as(image))

    if not torch.equal(background, encoded.background):
        return renderer.pictures("background", background[None])[0]
    return renderer.keep("backdrop", filled, encoded.image, background, hole(encoded))


def hole(encoded: Scene) -> Tensor:
    """Where the background of an encoded scene is filled, `h w`: 0 or 1."""
    return widened(encoded.masks[:-1].sum(0), WIDER)
