"""Traversals: images of a scene while one number of a code goes from a low value to a high one, as the original shows them."""

import torch
from torch import Tensor

from intarsia.errors import InputError
from intarsia.manipulation.compositing import over
from intarsia.manipulation.edits import Part, check_code
from intarsia.rendering import Renderer
from intarsia.scene import Scene


def most_informative(kl: Tensor, count: int) -> list[int]:
    """The `count` dimensions of a code with the largest divergences `d`, the largest first.

    Raises:
        InputError: if the code has fewer dimensions.
    """
    if not 1 <= count <= len(kl):
        raise InputError(f"The number of dimensions is {count}; the code has {len(kl)}, so it must be from 1 to that.")
    return kl.argsort(descending=True, stable=True)[:count].tolist()


@torch.no_grad()
def traverse(
    renderer: Renderer, scene: Scene, part: Part, dimension: int, offsets: Tensor, object: int | None = None, raw: bool = False
) -> Tensor:
    """Images `f 3 h w` of an encoded scene, each with one of the offsets `f` added to one number of a code.

    As in the original, only the traversed object (or background) is decoded: all *other* objects are the image's own pixels
    under their masks, and a texture is shown under its object's mask, not in the decoded shape. So an imperfect
    reconstruction changes nothing else. Where a new shape overlaps other objects, the background below is less than black (as
    in the original).

    Args:
        renderer: Of the model of the scene.
        scene: As `Model.encode` gave it.
        part: Of which code.
        dimension: Which number of the code.
        offsets: In standard deviations of the prior; the original takes 60 from -1 to 1.
        object: Whose shape or texture; None for the background.
        raw: Return the bare output of the fusion networks, as the original does, instead of laying it over the scene's image
            where the traversed part is seen.

    Raises:
        InputError: if there is no such part, object or dimension.
    """
    code = getattr(scene, check_code(scene, part, dimension, object))
    codes = (code if object is None else code[object]).repeat(len(offsets), 1)
    codes[:, dimension] += offsets.to(codes)
    model, frames = renderer.model, (len(offsets), -1, -1, -1)
    image, masks = model.downsample(scene.image), model.downsample(scene.masks[:-1])
    changed, decoded = model.downsample(renderer.picture(part, codes)), renderer.decode(scene)
    layers = (image * masks[:, None]).repeat(len(offsets), 1, 1, 1, 1)
    if object is None:
        region = (1 - masks.sum(0)).expand(len(offsets), -1, -1)
        behind = changed * (1 - masks.sum(0))
    else:
        own = masks[object][None, None]
        shapes = changed if part == "shape" else own.expand(frames)
        textures = changed if part == "texture" else model.downsample(decoded.textures[object]).expand(frames)
        layers[:, object] = model.autoencoder.object_fusion(textures, shapes).sigmoid()
        behind = model.downsample(decoded.background) * (1 - (masks.sum(0) - own) - shapes)
        region = torch.maximum(own, shapes)[:, 0]
    empty = layers.new_zeros(len(offsets), model.recipe.objects - len(masks), *layers.shape[2:])
    fused = model.upsample(model.autoencoder.scene_fusion(torch.cat([layers, empty, behind[:, None]], 1)))
    return fused if raw else over(scene.image, fused, model.upsample(region))
