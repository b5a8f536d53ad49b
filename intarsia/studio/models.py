"""The models that are served: loaded when they are first asked for, and no more than a few kept at a time."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from intarsia import __version__
from intarsia.errors import InputError
from intarsia.manipulation.replay import model_sha256
from intarsia.model import Model, load
from intarsia.recipes.settings import STAGES
from intarsia.records import Scores
from intarsia.records.scores import Codes
from intarsia.studio.examples import Examples, examples_of
from intarsia.studio.refusals import Refusal
from intarsia.studio.store import GONE, Store
from intarsia.studio.words import words_of
from intarsia.weights import shipped

MOST_LOADED = 3  # models, each with its scenes


@dataclass(frozen=True)
class About:
    """A model that is served."""

    version: str
    name: str
    dataset: str
    height: int
    width: int
    room: int
    """The number of objects that a scene can hold."""
    has_codes: bool
    """Whether objects can be changed; without codes, they can only be moved, scaled, copied, removed and reordered."""
    words: dict[str, list[str]]
    """What each number of the codes of `shape`, `texture` and `background` does, in a word or two."""
    model_sha256: str
    no_random_scene: str
    """Why there are no scenes to begin with; empty if there are."""


class Served:
    """A loaded model, and what is kept for it."""

    def __init__(self, name: str, source: Path | Model) -> None:
        model, folder = (source, None) if isinstance(source, Model) else (load(source, with_codes=True), _home(source))
        recipe = model.recipe
        self.model, self.store = model, Store(model, name)
        self.examples: Examples | str = examples_of(recipe, folder)
        self.gallery: list[tuple[int, Tensor, int]] | None = None  # once it was asked for
        self.about = About(
            version=__version__,
            name=name,
            dataset=recipe.dataset,
            height=recipe.height,
            width=recipe.width,
            room=recipe.objects,
            has_codes=model.has_codes,
            words=words_of(recipe.vae, _scores(folder)),
            model_sha256=model_sha256(model),
            no_random_scene=self.examples if isinstance(self.examples, str) else "",
        )


class Models:
    """Models by the names of a list that was made when the server began. Of it, only `names` and `abouts` are safe for threads.

    Args:
        sources: By name, the first one first: run folders, model folders, names of shipped models, or models.
    """

    def __init__(self, sources: Mapping[str, Path | Model]) -> None:
        self._sources, self._loaded = dict(sources), OrderedDict[str, Served]()
        self.names = list(sources)
        self.abouts: dict[str, About] = {}
        """Of the models that were loaded at some time."""

    def get(self, name: str) -> Served:
        """The model of a name, loaded. The least recently used one makes room.

        Raises:
            Refusal: if there is none of that name.
            InputError: if it can't be loaded.
        """
        if name not in self._sources:
            raise Refusal(404, f"No model {name!r} is served here; choose one of {', '.join(self.names)}.")
        if name not in self._loaded:
            while len(self._loaded) >= MOST_LOADED:
                self._loaded.popitem(last=False)
            self._loaded[name] = served = Served(name, self._sources[name])
            self.abouts[name] = served.about
        self._loaded.move_to_end(name)
        return self._loaded[name]

    def of(self, scene: str) -> Served:
        """The model of a scene, given the scene's name; `Refusal` if that names none."""
        name = scene.rpartition(".")[0]
        if name not in self._sources:
            raise Refusal(404, GONE)
        return self.get(name)


def named(runs: Sequence[Path]) -> dict[str, Path]:
    """The given runs and then the shipped models, each by a short name of its own: that of its folder."""
    found: dict[str, Path] = {}
    for run in [*runs, *(Path(name) for name in shipped() if Path(name) not in runs)]:
        folder = run.resolve()
        short = f"{folder.parent.name}-{folder.name}" if folder.name in STAGES else folder.name
        name, count = short, 2
        while name in found:
            name, count = f"{short}-{count}", count + 1
        found[name] = run
    return found


def _home(source: Path) -> Path:
    """The folder of a run, or of a shipped model by its name."""
    return source if source.exists() else shipped()[str(source)]


def _scores(folder: Path | None) -> Codes | None:
    """What was measured of the codes of the newest model in a folder; None if nothing was."""
    try:
        return Scores.load(folder).codes if folder is not None else None
    except InputError:
        return None
