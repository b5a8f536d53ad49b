"""The scenes of a model that the server keeps: encoded once, edited often.

The page keeps the edits, so if a scene is dropped it only has to be uploaded again.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from intarsia.errors import InputError
from intarsia.manipulation.history import Edit
from intarsia.manipulation.replay import Edited, begin, picture_sha256, replay
from intarsia.model import Model
from intarsia.rendering import Memo, Renderer
from intarsia.scene import Scene
from intarsia.studio.refusals import Refusal
from intarsia.studio.worker import Work

GONE = "The server no longer keeps this picture; open it again."
MOST_STATES = 4  # of a scene
MOST_SCENE_BYTES = 2**28  # of pictures and masks, those of states included
MOST_BYTES = 2**27  # of decoded and fused tensors: moving a slider then decodes one code, fuses one object, and then the scene


@dataclass
class _Kept:
    scene: Scene
    states: OrderedDict[tuple[Edit, ...], Edited] = field(default_factory=OrderedDict)
    """The scene after each of some lists of edits, the least recently used first."""


class Store:
    """Scenes by the name of their model and the SHA-256 of their pictures, with a dot between. Not safe for several threads.

    Args:
        model: Encodes and renders them.
        name: The model's.
        most: The number of scenes to keep; the least recently used are dropped first. None for as many as fit in
            `MOST_SCENE_BYTES`: 409 of `multi_dsprites`.
    """

    def __init__(self, model: Model, name: str = "", most: int | None = None) -> None:
        self._name = name
        self.renderer, recipe = Renderer(model, Memo(MOST_BYTES)), model.recipe
        scene_bytes = 4 * recipe.height * recipe.width * (3 + recipe.segments) * (1 + MOST_STATES)
        self._most = max(1, MOST_SCENE_BYTES // scene_bytes) if most is None else most
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, image: Tensor) -> str:
        """Encode a picture `3 h w` in [0, 1], unless it is kept already, and return its name."""
        name = f"{self._name}.{picture_sha256(image)}"
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

    def edited(self, name: str, edits: Sequence[Edit]) -> Work[Edited]:
        """The scene of this name after some edits, each of which is a step.

        Usually all but the last one were made before, so only that one is made. Work that is given up is not lost: the next
        request for the same edits goes on from there.
        """
        kept, edits = self._find(name), tuple(edits)
        known = max((made for made in kept.states if made == edits[: len(made)]), key=len, default=())
        state = kept.states[known] if known else begin(kept.scene)
        if known:
            kept.states.move_to_end(known)
        for count in range(len(known) + 1, len(edits) + 1):
            try:
                state = replay(self.renderer, state, edits[count - 1 : count])
            except InputError as error:
                raise InputError(f"Edit {count} of {len(edits)}: {error}" if count < len(edits) else str(error)) from error
            kept.states[edits[:count]] = state
            if len(kept.states) > MOST_STATES:
                kept.states.popitem(last=False)
            yield
        return state

    def _find(self, name: str) -> _Kept:
        if name not in self._kept:
            raise Refusal(404, GONE)
        self._kept.move_to_end(name)
        return self._kept[name]
