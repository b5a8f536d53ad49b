"""Compositing: an edited scene over its own image, so that pixels which the edits must not touch keep their exact values.

An object that came, went or changed its place changes two regions: what it covers now, and what it covered before and a little
more, so that no rim of it stays. There the picture is drawn anew, from back to front: the backdrop, then the `layers` of the
objects. The fusion networks draw what is decoded; they see the other objects' own pixels beside it. Elsewhere the image stays.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.manipulation.cutouts import widened
from intarsia.manipulation.layers import WIDER, backdrop, is_decoded, layers
from intarsia.masks import visible_shapes
from intarsia.rendering import Renderer
from intarsia.scene import Scene

DRAWN = "shape", "texture", "transform"  # what an object looks like, beside its origin
VISIBLE = 0.1  # shapes and masks count where they are above this
REACH = 2  # px that `over` goes beyond them, so that the soft rim of an object goes along with it


@torch.no_grad()
def composite(renderer: Renderer, before: Scene, after: Scene, raw: bool = False) -> Tensor:
    """The image `3 h w` of an edited scene: drawn anew where the edits changed something, else `before.image`, bit by bit.

    Args:
        renderer: Of the model of both scenes.
        before: The scene as `Model.encode` gave it.
        after: The edited scene.
        raw: Return the bare output of the fusion networks instead, in which nothing is the image's own.
    """
    if raw:
        return renderer.render(after)
    region = changed_region(renderer, before, after)
    return over(before.image, drawn(renderer, before, after), region) if region.any() else before.image


@torch.no_grad()
def drawn(renderer: Renderer, before: Scene, after: Scene) -> Tensor:
    """The whole image `3 h w` of an edited scene, drawn from its layers."""
    model = renderer.model
    opacities, colours = layers(renderer, after)
    visible = visible_shapes(opacities)
    objects = colours * visible[:, None]
    behind = backdrop(renderer, before, after.background) * (1 - visible.sum(0))
    own = objects.sum(0) + behind
    decoded = [row for row in range(len(visible)) if is_decoded(after, row)]
    places = [visible[decoded]]
    if not torch.equal(before.background, after.background):
        places.append(1 - visible.sum(0, keepdim=True))
    region = torch.cat(places)
    if not len(region):
        return own
    small = model.downsample(objects)
    small[decoded] = renderer.on_black(colours[decoded], model.downsample(visible[decoded]))
    return over(own, renderer.join(small, model.downsample(behind)), region.amax(0))


@torch.no_grad()
def changed_region(renderer: Renderer, before: Scene, after: Scene) -> Tensor:
    """Where two scenes look different, `h w` in [0, 1]: 0 everywhere if they hold the same objects and background.

    Two objects are the same if they have one origin, the same codes and the same transform. An object that is in only one scene
    changes what it covers, and a little more where it was. An object in both scenes changes where one scene hides more of it
    than the other.
    """
    was, now = (visible_shapes(layers(renderer, scene).opacities) for scene in (before, after))
    same = torch.tensor([[_same(before, old, after, new) for new in range(len(now))] for old in range(len(was))])
    same = same.reshape(len(was), len(now)).bool().to(was.device)
    gone, new = ~same.any(1), ~same.any(0)
    differing = (was[:, None] - now).abs().masked_fill(~same[:, :, None, None], torch.inf)
    places = [torch.zeros_like(before.masks[:1]), widened(before.masks[:-1][gone], WIDER), was[gone], now[new]]
    if new.numel():
        places.append(differing.amin(1)[~gone])
    if not torch.equal(before.background, after.background):
        places += [1 - was.sum(0, keepdim=True), 1 - now.sum(0, keepdim=True), before.masks[-1:]]
    return torch.cat(places).amax(0)


def over(image: Tensor, changed: Tensor, region: Tensor) -> Tensor:
    """Images `... 3 h w` laid over an image `3 h w` in a region `... h w` in [0, 1] and a soft rim of `REACH` pixels round it.

    Pixels farther than that from where the region is above `VISIBLE` are those of `image`, bit by bit.
    """
    opacity = soft(region).unsqueeze(-3)
    return torch.where(opacity > 0, torch.lerp(image.expand_as(changed), changed, opacity), image)


def soft(region: Tensor) -> Tensor:
    """How much of an edited scene is shown at each pixel, `... h w` in [0, 1], given the region that `over` takes."""
    inside = (region > VISIBLE).to(region.dtype).unsqueeze(-3)
    return F.avg_pool2d(F.max_pool2d(inside, 3, 1, 1), 3, 1, 1, count_include_pad=False).squeeze(-3)


def _same(before: Scene, old: int, after: Scene, new: int) -> bool:
    """Whether an object of one scene and one of another are the same object, drawn alike."""
    kept = before.origins[old] is after.origins[new]
    return kept and all(torch.equal(getattr(before, name)[old], getattr(after, name)[new]) for name in DRAWN)
