"""Traversals: what one number of a code does, from a low value to a high one; as the original shows them."""

import torch
from torch import Tensor

from intarsia.errors import InputError
from intarsia.manipulation.compositing import over
from intarsia.manipulation.edits import Part, check_code
from intarsia.model import Model
from intarsia.scene import Scene


def most_informative(kl: Tensor, count: int) -> list[int]:
    """The `count` dimensions of a code whose divergences `d` are the largest, the largest first.

    Raises:
        InputError: if there are not so many.
    """
    if not 1 <= count <= len(kl):
        raise InputError(f"The number of dimensions is {count}; the code has {len(kl)}, so it must be from 1 to that.")
    return kl.argsort(descending=True, stable=True)[:count].tolist()


@torch.no_grad()
def traverse(
    model: Model, scene: Scene, part: Part, dimension: int, offsets: Tensor, object: int | None = None, raw: bool = False
) -> Tensor:
    """Images `f 3 h w` of a scene as it was encoded, with each of the offsets `f` added to one number of a code.

    As in the original, only what is traversed goes through the codes: all *other* objects are the image's own pixels under
    their masks, and a texture is shown in its object's mask, not in the decoded shape. So nothing else can change for want of
    a good reconstruction. Where a new shape overlaps other objects, the background below is less than black, as there.

    The offsets are in standard deviations of the prior; the original takes 60 from -1 to 1. The background needs no object.
    The images are laid over the scene's own, where the traversed part is seen; with `raw` they are the bare fusion output, as
    in the original.

    Raises:
        InputError: if there is no such part, object or dimension.
    """
    code = getattr(scene, check_code(scene, part, dimension, object))
    codes = (code if object is None else code[object]).repeat(len(offsets), 1)
    codes[:, dimension] += offsets.to(codes)
    autoencoder, frames = model.autoencoder, (len(offsets), -1, -1, -1)
    image, masks = model.downsample(scene.image), model.downsample(scene.masks[:-1])
    found, decoded = model.downsample(model.picture(part, codes)), model.decode(scene)
    layers = (image * masks[:, None]).repeat(len(offsets), 1, 1, 1, 1)
    if object is None:
        region = (1 - masks.sum(0)).expand(len(offsets), -1, -1)
        behind = found * (1 - masks.sum(0))
    else:
        own = masks[object][None, None]
        shapes = found if part == "shape" else own.expand(frames)
        textures = found if part == "texture" else model.downsample(decoded.textures[object]).expand(frames)
        layers[:, object] = autoencoder.object_fusion(textures, shapes).sigmoid()
        behind = model.downsample(decoded.background) * (1 - (masks.sum(0) - own) - shapes)
        region = torch.maximum(own, shapes)[:, 0]
    empty = layers.new_zeros(len(offsets), model.recipe.objects - len(masks), *layers.shape[2:])
    fused = autoencoder.scene_fusion(torch.cat([layers, empty, behind[:, None]], 1))
    fused = model.upsample(fused)
    return fused if raw else over(scene.image, fused, model.upsample(region))
