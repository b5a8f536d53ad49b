"""Scenes that the server keeps: encoded once, edited often. Pages keep the edits, so one that is dropped costs an upload."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from intarsia.manipulation.history import Edit
from intarsia.manipulation.replay import Edited, begin, picture_sha256, replay
from intarsia.memo import Memo
from intarsia.model import Model
from intarsia.scene import Scene
from intarsia.studio.refusals import Refusal

__all__ = ["Store"]

MOST_SCENES = 32
MOST_STATES = 4  # of a scene
MOST_BYTES = 2**27  # of what was decoded and fused: a slider then costs one picture, one object, and the fusion of all


@dataclass
class _Kept:
    scene: Scene
    states: OrderedDict[tuple[Edit, ...], Edited] = field(default_factory=OrderedDict)
    """What lists of edits make of it, the least recently used first."""


class Store:
    """Scenes under the SHA-256 of their pictures; of so many the least recently used are dropped. For one thread alone."""

    def __init__(self, model: Model, most: int = MOST_SCENES) -> None:
        self._model, self._most = model, most
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self.memo = Memo(MOST_BYTES)
        """What was decoded and fused of late, for `composite`."""

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, image: Tensor) -> str:
        """Encode a picture `3 h w` in [0, 1], unless it is there already, and return its name."""
        name = picture_sha256(image)
        if name not in self._kept:
            device = next(self._model.parameters()).device
            self._kept[name] = _Kept(self._model.encode(image.to(device)))
        self._kept.move_to_end(name)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return name

    def scene(self, name: str) -> Scene:
        """A scene before any edit."""
        return self._find(name).scene

    def edited(self, name: str, edits: Sequence[Edit]) -> Edited:
        """A scene after some edits. All but the last one were most often made before, so only the last one is made."""
        kept, edits = self._find(name), tuple(edits)
        known = next((count for count in range(len(edits), 0, -1) if edits[:count] in kept.states), 0)
        state = kept.states[edits[:known]] if known else begin(kept.scene)
        if known:
            kept.states.move_to_end(edits[:known])
        for count in dict.fromkeys((len(edits) - 1, len(edits))):
            if count > known:
                state = replay(self._model, state, edits[known:count])
                kept.states[edits[:count]], known = state, count
        while len(kept.states) > MOST_STATES:
            kept.states.popitem(last=False)
        return state

    def _find(self, name: str) -> _Kept:
        if name not in self._kept:
            raise Refusal(404, "The server no longer keeps this picture; open it again.")
        self._kept.move_to_end(name)
        return self._kept[name]
