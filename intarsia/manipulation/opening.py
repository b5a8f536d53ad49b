"""Opening a model for edits: its codes have to be trained."""

from pathlib import Path

import torch

from intarsia.errors import InputError
from intarsia.model import Model, load
from intarsia.weights import has_codes, latest

__all__ = ["open_model"]


def open_model(run: str | Path) -> Model:
    """The newest model of a run folder or model folder, on the GPU if there is one.

    Raises:
        InputError: if there is none, or the stage that trains its codes has not run.
    """
    source = latest(Path(run))
    if not has_codes(source):
        name = source.resolve().name
        raise InputError(f"Objects can be changed once stage 'vaes' is trained; the newest model of {run} is that of {name!r}.")
    model = load(run)
    return model.to("cuda") if torch.cuda.is_available() else model
