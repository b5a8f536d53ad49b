"""The flags of `intarsia manipulate`, and the edits that they stand for. The help needs them, so PyTorch is not loaded here."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import ValidationError
from tyro.conf import FlagCreatePairsOff, arg

from intarsia.errors import InputError, one_line

if TYPE_CHECKING:
    from intarsia.manipulation.history import Edit

LARGEST_OFFSET = 1000  # standard deviations of the prior; nothing can be seen far below

Flag = Annotated[FlagCreatePairsOff[bool], arg(help_behavior_hint="")]


@dataclass(frozen=True)
class EditFlags:
    """What to do with the objects of an image. They are numbered from 1, from front to back."""

    list: Flag = False
    """Print each object's number, place and area, and the most informative numbers of its codes."""
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
    """Show the bare fusion output, instead of leaving all pixels alone that the edits do not touch."""


EDITS = ("move", "scale", "recolour", "swap_texture", "to_front", "to_back", "remove")  # of the object named


def check_flags(flags: EditFlags) -> None:
    """Raise `InputError` if it is not clear what to do, or to which object."""
    given = [item.name for item in fields(flags) if getattr(flags, item.name) is not item.default]
    shows = [name for name in ("list", "traverse", "dimension") if name in given]
    edits = [name for name in (*EDITS, "copy_from", "edits") if name in given]
    shown, edited = (", ".join(f"--{name.replace('_', '-')}" for name in names) for names in (shows, edits))
    if not shows and not edits:
        raise InputError("Nothing to do: give --list, --traverse, --dimension, --edits or an edit such as --move DX DY.")
    if len(shows) > 1 or (shows and edits):
        raise InputError(f"{', '.join(filter(None, (shown, edited)))} can't be combined; use them one after the other.")
    if flags.edits and (len(edits) > 1 or flags.object is not None):
        raise InputError("--edits FILE says all that is to be done; leave --object and other edits out.")
    if ("remove" in edits and len(edits) > 1) or (flags.to_front and flags.to_back):
        raise InputError(f"{edited} contradict each other.")
    if bool(flags.copy_from) != (flags.copy_object is not None):
        raise InputError("--copy-from IMAGE and --copy-object NUMBER belong together.")
    if flags.copy_from and flags.object is not None:
        raise InputError("Edits beside --copy-from are made to the copied object; leave --object out.")
    needs_one = (edits and not flags.copy_from and not flags.edits) or ("dimension" in shows and flags.part != "background")
    if needs_one and flags.object is None:
        raise InputError(f"{shown or edited} needs --object NUMBER; --list shows the objects.")
    if flags.part == "background" and flags.object is not None:
        raise InputError("--part background needs no --object.")
    for name in ("steps", "count"):
        if getattr(flags, name) < 1:
            raise InputError(f"--{name} is {getattr(flags, name)}; it must be at least 1.")
    for number in flags.range:
        if not abs(number) <= LARGEST_OFFSET:  # NaN, too
            raise InputError(f"--range holds {number:g}; its numbers must be from -{LARGEST_OFFSET} to {LARGEST_OFFSET}.")


def edits_of(flags: EditFlags, object: int, objects: int) -> list["Edit"]:
    """Return the edits that the flags ask for, to the object with this number; one of so many `objects`.

    Raises:
        InputError: if a flag's value is out of the edit's range.
    """
    from intarsia.manipulation.history import Move, Order, Recolour, Remove, Scale, SwapTexture

    edits: list[Edit] = []
    try:
        if flags.swap_texture is not None:
            edits.append(SwapTexture(object=object, other=flags.swap_texture))
        if flags.move is not None:
            edits.append(Move(object=object, dx=flags.move[0], dy=flags.move[1]))
        if flags.scale is not None:
            edits.append(Scale(object=object, factor=flags.scale))
        if flags.recolour is not None:
            edits.append(Recolour(object=object, colour=_hex(flags.recolour)))
        if flags.to_front or flags.to_back:
            edits.append(Order(object=object, place=0 if flags.to_front else objects - 1))
        if flags.remove:
            edits.append(Remove(object=object))
    except ValidationError as error:
        raise InputError(one_line(error)) from error
    return edits


def _hex(colour: str) -> str:
    """Return a colour, given by its name or as `#rrggbb`, as `#rrggbb`."""
    from PIL import ImageColor

    try:
        return "#{:02x}{:02x}{:02x}".format(*ImageColor.getrgb(colour)[:3])
    except ValueError:
        raise InputError(f"--recolour is {colour!r}; give '#rrggbb' or the name of a colour, such as red.") from None
