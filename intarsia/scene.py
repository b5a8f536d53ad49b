"""A scene: one image as masks and codes, which a user can edit and a model can render."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Scene:
    """Masks and codes of one image. A scene is immutable; an edit returns a new one (`intarsia.manipulation`).

    Objects have an order: the first one is in front of the others, and the background is behind all. `Model.encode` keeps the
    segmenter's order. A scene can hold fewer objects than the model has room for.
    """

    image: Tensor
    """`3 h w` in [0, 1]: the image that was encoded."""
    masks: Tensor
    """`n+1 h w`: the opened masks of the objects in the image, the background last; all 0 for an object of another image."""
    shape: Tensor
    """`n d`: the shape code of each object, a posterior mean."""
    texture: Tensor
    """`n d`: the texture code of each object."""
    background: Tensor
    """`d`: the code of the background."""
    shape_kl: Tensor
    """`n d`, nats: the divergence of each number from the prior. A number near 0 nats has little effect on the image."""
    texture_kl: Tensor
    """`n d`, nats."""
    background_kl: Tensor
    """`d`, nats."""


@dataclass(frozen=True, eq=False)
class Parts:
    """The decoded codes of a scene, all in [0, 1]; they are fused into an image."""

    shapes: Tensor
    """`n h w`: where each object is, including what other objects hide."""
    textures: Tensor
    """`n 3 h w`: a picture of the image's size for each object."""
    background: Tensor
    """`3 h w`, also behind the objects."""
