"""Intarsia finds the objects in unlabelled images and lets a person change each one on its own.

A PyTorch implementation of "Learning to Manipulate Individual Objects in an Image" (Yang, Chen, Soatto, CVPR 2020).

Examples:
    >>> import intarsia
    >>> model = intarsia.Model(intarsia.RECIPES["multi_texture"]["compact"])  # or load("multi_dsprites")
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "RECIPES", "InputError", "Model", "Prediction", "Recipe", "Renderer", "Scene", "SceneSample", "Scenes", "from_pretrained",
    "load", "open_dataset", "predict", "push_to_hub", "train",
]  # fmt: skip

if TYPE_CHECKING:
    from intarsia.data import Scenes, SceneSample, open_dataset
    from intarsia.errors import InputError
    from intarsia.interop.hub import from_pretrained, push_to_hub
    from intarsia.model import Model, load
    from intarsia.prediction import Prediction, predict
    from intarsia.recipes import RECIPES
    from intarsia.recipes.settings import Recipe
    from intarsia.rendering import Renderer
    from intarsia.scene import Scene
    from intarsia.stages import train

_HOMES = {
    "InputError": "intarsia.errors",
    "Model": "intarsia.model",
    "Prediction": "intarsia.prediction",
    "RECIPES": "intarsia.recipes",
    "Recipe": "intarsia.recipes.settings",
    "Renderer": "intarsia.rendering",
    "Scene": "intarsia.scene",
    "SceneSample": "intarsia.data",
    "Scenes": "intarsia.data",
    "from_pretrained": "intarsia.interop.hub",
    "load": "intarsia.model",
    "open_dataset": "intarsia.data",
    "predict": "intarsia.prediction",
    "push_to_hub": "intarsia.interop.hub",
    "train": "intarsia.stages",
}


def __getattr__(name: str) -> Any:
    """Return a public name, imported at its first use: `import intarsia` alone does not load PyTorch."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'intarsia' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """What `dir(intarsia)` and a notebook's completion list."""
    return [*__all__, "__version__"]
