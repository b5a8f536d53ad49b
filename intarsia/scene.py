"""A scene: one image as objects and background, which a user can edit and a model can render.

An object is two things at once: its codes, and its own pixels in the image that it was found in. Its *transform* says where
either of them is drawn. So an object that only moves, grows, is copied or put behind another one keeps its own pixels; they are
resampled once, from the image, however many moves there were. An object whose codes changed is decoded, and drawn with the same
transform. Edits therefore only exchange numbers: a code, a transform, the order. What they look like,
`intarsia.manipulation.composite` works out from the scene alone, so that it does not matter how a scene came about.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from intarsia.pictures import Gallery


@dataclass(frozen=True, eq=False, repr=False)
class Scene:
    """Masks and codes of one image. A scene is immutable; an edit returns a new one (`intarsia.manipulation`).

    Objects have an order: the first one is in front of the others, and the background is behind all. `Model.encode` keeps the
    segmenter's order. A scene can hold fewer objects than the model has room for.

    A notebook shows a scene as its image, its segments and its objects as they were found. `manipulation.composite` draws an
    edited scene.
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
    transform: Tensor = field(default=None)  # type: ignore[assignment]  # set below
    """`n 3`, float64: scale, and distances to the right and down in pixels. What the codes or the object's own pixels show at a
    place x, y (the first pixel's centre is at 0) is drawn at scale x + right, scale y + down. An encoded scene has 1, 0, 0."""
    origins: "tuple[Origin | None, ...]" = field(default=None)  # type: ignore[arg-type]
    """Of each object: in this image, for an encoded scene; None for an object that is given by its codes alone. Scenes that
    were encoded together have none at all."""

    def __post_init__(self) -> None:
        if self.transform is None:
            none = self.shape.new_tensor([1, 0, 0], dtype=torch.double)
            object.__setattr__(self, "transform", none.expand(*self.shape.shape[:-1], 3))
        if self.origins is None:
            objects = () if self.image.dim() > 3 else zip(self.masks, self.shape, self.texture, strict=False)
            every = self.masks[..., :-1, :, :].sum(-3)
            found = tuple(Origin(self.image, mask, every - mask, shape, texture) for mask, shape, texture in objects)
            object.__setattr__(self, "origins", found)

    def __repr__(self) -> str:
        *images, objects, _ = self.shape.shape
        height, width = self.image.shape[-2:]
        lengths = " + ".join(str(code.shape[-1]) for code in (self.shape, self.texture, self.background))
        each = "".join(f"{count} images of " for count in images)
        return f"Scene({each}{objects} objects in {height}x{width} pixels; shape, texture, background: {lengths} numbers)"

    def _repr_html_(self) -> str | None:
        return self._gallery()._repr_html_() if self.image.dim() == 3 else None

    def _repr_png_(self) -> bytes | None:
        return self._gallery()._repr_png_() if self.image.dim() == 3 else None

    def _gallery(self) -> "Gallery":
        from intarsia.pictures import Gallery

        return Gallery.of_segments(self.image, self.masks, [*map("object {}".format, range(len(self.masks) - 1)), "background"])


@dataclass(frozen=True, eq=False)
class Origin:
    """What an object was where it was found. It stays the same, whatever becomes of the object."""

    image: Tensor
    """`3 h w` in [0, 1]."""
    mask: Tensor
    """`h w`: the object's opened mask in the image."""
    others: Tensor | None
    """`h w`: the sum of the other objects' masks, which may hide it; None if image and mask are a finished cut-out."""
    shape: Tensor
    """`d`: the shape code that it was encoded with."""
    texture: Tensor
    """`d`: its texture code."""


@dataclass(frozen=True, eq=False)
class Parts:
    """The decoded codes of a scene, all in [0, 1]; they are fused into an image."""

    shapes: Tensor
    """`n h w`: where each object is, including what other objects hide."""
    textures: Tensor
    """`n 3 h w`: a picture of the image's size for each object."""
    background: Tensor
    """`3 h w`, also behind the objects."""
