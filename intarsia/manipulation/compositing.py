"""Compositing: an edited scene over its own image, so that pixels which the edits must not touch keep their exact values."""

import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.masks import visible_shapes
from intarsia.rendering import Renderer
from intarsia.scene import Scene

VISIBLE = 0.1  # shapes and masks count where they are above this
REACH = 2  # px that `over` goes beyond them, so that the soft rim of an object goes along with it


@torch.no_grad()
def composite(renderer: Renderer, before: Scene, after: Scene, raw: bool = False) -> Tensor:
    """The image `3 h w` of an edited scene: rendered where the edits changed something, else `before.image`, bit by bit.

    Args:
        renderer: Of the model of both scenes.
        before: The scene as `Model.encode` gave it.
        after: The edited scene.
        raw: Return the bare output of the fusion networks instead.
    """
    fused = renderer.render(after)
    return fused if raw else over(before.image, fused, changed_region(renderer, before, after))


@torch.no_grad()
def changed_region(renderer: Renderer, before: Scene, after: Scene) -> Tensor:
    """Where two scenes look different, `h w` in [0, 1]: 0 everywhere if they hold the same objects and background.

    Two objects are the same if both their codes are. An object that is in only one scene changes the visible part of its
    decoded shape, and its mask in the image. An object in both scenes changes where one scene hides more of it than the other.
    """
    was, now = (visible_shapes(renderer.shapes(scene)) for scene in (before, after))
    codes_before, codes_after = (torch.cat([scene.shape, scene.texture], 1) for scene in (before, after))
    same = (codes_before[:, None] == codes_after).all(-1)
    gone, new = ~same.any(1), ~same.any(0)
    differing = (was[:, None] - now).abs().masked_fill(~same[:, :, None, None], torch.inf)
    places = [torch.zeros_like(before.masks[:1]), was[gone], before.masks[:-1][gone], now[new]]
    if new.numel():
        places.append(differing.amin(1)[~gone])
    if not torch.equal(before.background, after.background):
        places += [1 - was.sum(0, keepdim=True), 1 - now.sum(0, keepdim=True), before.masks[-1:]]
    return torch.cat(places).amax(0)


def over(image: Tensor, changed: Tensor, region: Tensor) -> Tensor:
    """Images `... 3 h w` laid over an image `3 h w` in a region `... h w` in [0, 1] and a soft rim of `REACH` pixels round it.

    Pixels farther than that from where the region is above `VISIBLE` are those of `image`, bit by bit.
    """
    inside = (region > VISIBLE).to(image.dtype).unsqueeze(-3)
    opacity = F.avg_pool2d(F.max_pool2d(inside, 3, 1, 1), 3, 1, 1, count_include_pad=False)
    return torch.where(opacity > 0, torch.lerp(image.expand_as(changed), changed, opacity), image)
