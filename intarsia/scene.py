"""A scene: one image taken apart, for people to change and a model to render."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Scene:
    """What a model knows of one image. Nothing changes it; an edit makes another one (`intarsia.manipulation`).

    Objects have an order: the first one is in front of the others, the background is behind all. That of `Model.encode` is
    the segmenter's. A scene may hold fewer objects than the model has room for.
    """

    image: Tensor
    """`3 h w` in [0, 1]: what the scene was taken from."""
    masks: Tensor
    """`n+1 h w`: where the objects are in it, each opened, and the background last; all 0 for one that came from elsewhere."""
    shape: Tensor
    """`n d`: a code for each object; posterior means."""
    texture: Tensor
    """`n d`."""
    background: Tensor
    """`d`."""
    shape_kl: Tensor
    """`n d`, nats: how much each number of a code tells about this image; those near 0 can be changed without effect."""
    texture_kl: Tensor
    """`n d`, nats."""
    background_kl: Tensor
    """`d`, nats."""


@dataclass(frozen=True, eq=False)
class Parts:
    """The decoded pictures of a scene's codes, all in [0, 1]: what is fused into an image."""

    shapes: Tensor
    """`n h w`: where each object is, whatever is in front of it."""
    textures: Tensor
    """`n 3 h w`: a picture of the whole size for each object."""
    background: Tensor
    """`3 h w`, behind the objects as well."""
