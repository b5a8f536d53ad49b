"""What the command line offers beside recipes: how a run trains, how a scene is changed. Its help so needs no PyTorch."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, arg

from intarsia.errors import InputError

Flag = Annotated[FlagCreatePairsOff[bool], arg(help_behavior_hint="")]


@dataclass(frozen=True)
class Options:
    """Where and how fast a run trains, how often it saves and shows: nothing that belongs to a recipe."""

    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    """auto: bf16 autocast where the processor computes in bf16, else float32."""
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Kind of device."""
    devices: int = 1
    """Devices (on a CPU: processes) per machine; they share each batch."""
    num_nodes: int = 1
    """Machines."""
    threads: int = 0
    """Threads per process; 0 leaves it to PyTorch."""
    save_every: int = 250
    """Steps between checkpoints."""
    show_every: int = 500
    """Steps between validations, each with a picture."""


def check_options(options: Options) -> None:
    """Raise `InputError` for numbers that no run could use."""
    for name, least in {"devices": 1, "num_nodes": 1, "save_every": 1, "show_every": 1, "threads": 0}.items():
        if getattr(options, name) < least:
            raise InputError(f"--{name.replace('_', '-')} is {getattr(options, name)}; it must be at least {least}.")


@dataclass(frozen=True)
class Change:
    """What to do with the objects of an image. They are numbered from 1, from front to back."""

    list: Flag = False
    """Print the objects: number, place, area, and which numbers of their codes tell the most."""
    object: Annotated[int | None, arg(metavar="NUMBER", help_behavior_hint="")] = None
    """The object to change."""
    part: Annotated[
        Literal["shape", "texture", "background"] | None,
        arg(metavar="shape|texture|background", help_behavior_hint="(default: shape)"),
    ] = None
    """With --dimension: the code it belongs to. With --traverse: this part alone. The background needs no object."""
    dimension: Annotated[int | None, arg(metavar="NUMBER", help_behavior_hint="")] = None
    """Animate one number of a code, counted from 0, over a range."""
    traverse: Flag = False
    """Animate the most informative numbers of every code, or of those of --object."""
    range: Annotated[tuple[float, float], arg(metavar="FIRST LAST")] = (-1.0, 1.0)
    """What an animation adds to the number, at its start and end."""
    steps: int = 60
    """Frames of an animation."""
    count: int = 3
    """How many numbers of each code --traverse and --list take."""
    mp4: Flag = False
    """Write animations as MP4 too; needs the extra intarsia[video]."""
    move: Annotated[tuple[float, float] | None, arg(metavar="DX DY", help_behavior_hint="")] = None
    """Move the object by so many pixels to the right and down."""
    scale: Annotated[float | None, arg(metavar="FACTOR", help_behavior_hint="")] = None
    """Make it so many times as wide and high."""
    recolour: Annotated[str | None, arg(metavar="COLOUR", help_behavior_hint="")] = None
    """Give it a mean colour: '#rrggbb' or a name such as red."""
    swap_texture: Annotated[int | None, arg(metavar="NUMBER", help_behavior_hint="")] = None
    """Exchange its texture with that of another object."""
    to_front: Flag = False
    """Put it in front of all others."""
    to_back: Flag = False
    """Put it behind all others."""
    remove: Flag = False
    """Remove it; what is behind it fills its place."""
    copy_from: Annotated[Path | None, arg(metavar="IMAGE", help_behavior_hint="")] = None
    """Add an object of another image (or of the same), in front of all; further edits are made to it, instead of --object."""
    copy_object: Annotated[int | None, arg(metavar="NUMBER", help_behavior_hint="")] = None
    """Which object of that image."""
    edits: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """Make the edits of a JSON file, such as `intarsia serve` exports for this image and this model."""
    raw: Flag = False
    """Show the bare fusion output, instead of leaving all pixels alone that the change does not touch."""


EDITS = ("move", "scale", "recolour", "swap_texture", "to_front", "to_back", "remove")  # of the object named


def check_change(change: Change) -> None:
    """Raise `InputError` where it is not clear what to do, or to which object."""
    given = [item.name for item in fields(change) if getattr(change, item.name) is not item.default]
    shows = [name for name in ("list", "traverse", "dimension") if name in given]
    edits = [name for name in (*EDITS, "copy_from", "edits") if name in given]
    shown, edited = (", ".join(f"--{name.replace('_', '-')}" for name in names) for names in (shows, edits))
    if not shows and not edits:
        raise InputError("Nothing to do: give --list, --traverse, --dimension, --edits or an edit such as --move DX DY.")
    if len(shows) > 1 or (shows and edits):
        raise InputError(f"{', '.join(filter(None, (shown, edited)))} can't be had at once; use them one after the other.")
    if change.edits and (len(edits) > 1 or change.object is not None):
        raise InputError("--edits FILE says all that is to be done; leave --object and other edits out.")
    if ("remove" in edits and len(edits) > 1) or (change.to_front and change.to_back):
        raise InputError(f"{edited} contradict each other.")
    if bool(change.copy_from) != (change.copy_object is not None):
        raise InputError("--copy-from IMAGE and --copy-object NUMBER belong together.")
    if change.copy_from and change.object is not None:
        raise InputError("Edits beside --copy-from are made to the copied object; leave --object out.")
    needs_one = (edits and not change.copy_from and not change.edits) or ("dimension" in shows and change.part != "background")
    if needs_one and change.object is None:
        raise InputError(f"{shown or edited} needs --object NUMBER; --list shows the objects.")
    if change.part == "background" and change.object is not None:
        raise InputError("--part background needs no --object.")
    for name in ("steps", "count"):
        if getattr(change, name) < 1:
            raise InputError(f"--{name} is {getattr(change, name)}; it must be at least 1.")
