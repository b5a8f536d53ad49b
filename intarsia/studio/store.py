"""The scenes that the server keeps: encoded once, edited often.

The page keeps the edits, so if a scene is dropped it only has to be uploaded again.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from intarsia.manipulation.history import Edit
from intarsia.manipulation.replay import Edited, begin, picture_sha256, replay
from intarsia.model import Model
from intarsia.rendering import Memo, Renderer
from intarsia.scene import Scene
from intarsia.studio.refusals import Refusal

MOST_SCENES = 32
MOST_STATES = 4  # of a scene
MOST_BYTES = 2**27  # of decoded and fused tensors: moving a slider then decodes one code, fuses one object, and then the scene


@dataclass
class _Kept:
    scene: Scene
    states: OrderedDict[tuple[Edit, ...], Edited] = field(default_factory=OrderedDict)
    """The scene after each of some lists of edits, the least recently used first."""


class Store:
    """Scenes by the SHA-256 of their pictures. Not safe for several threads.

    Args:
        model: Encodes and renders them.
        most: The number of scenes to keep; the least recently used are dropped first.
    """

    def __init__(self, model: Model, most: int = MOST_SCENES) -> None:
        self.renderer = Renderer(model, Memo(MOST_BYTES))
        self._most = most
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, image: Tensor) -> str:
        """Encode a picture `3 h w` in [0, 1], unless it is kept already, and return its name."""
        name = picture_sha256(image)
        if name not in self._kept:
            model = self.renderer.model
            self._kept[name] = _Kept(model.encode(image.to(model.device)))
        self._kept.move_to_end(name)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return name

    def scene(self, name: str) -> Scene:
        """The scene of this name, before any edit."""
        return self._find(name).scene

    def edited(self, name: str, edits: Sequence[Edit]) -> Edited:
        """The scene of this name after some edits. Usually all but the last one were made before, so only that one is made."""
        kept, edits = self._find(name), tuple(edits)
        known = next((count for count in range(len(edits), 0, -1) if edits[:count] in kept.states), 0)
        state = kept.states[edits[:known]] if known else begin(kept.scene)
        if known:
            kept.states.move_to_end(edits[:known])
        for count in dict.fromkeys((len(edits) - 1, len(edits))):
            if count > known:
                state = replay(self.renderer, state, edits[known:count])
                kept.states[edits[:count]], known = state, count
        while len(kept.states) > MOST_STATES:
            kept.states.popitem(last=False)
        return state

    def _find(self, name: str) -> _Kept:
        if name not in self._kept:
            raise Refusal(404, "The server no longer keeps this picture; open it again.")
        self._kept.move_to_end(name)
        return self._kept[name]
