"""Filling a command's dataclass from what was typed; what can't be used becomes one line."""

import contextlib
import dataclasses
import difflib
import io
import re
from collections.abc import Iterator
from typing import Any, TypeVar

import tyro

from intarsia.commands.edit_flags import EditFlags
from intarsia.commands.table import Settings
from intarsia.errors import InputError
from intarsia.recipes.options import Options

Form = TypeVar("Form")
UNNAMED = {"settings": Settings, "options": Options, "flags": EditFlags}  # their options stand among the command's own


def fill(form: type[Form], argv: list[str], verb: str, description: str | None = None, default: Form | None = None) -> Form:
    """Fill a dataclass from options; what tyro or we refuse becomes one line."""
    given: dict[str, Any] = {} if default is None else {"default": default}
    with _one_line(verb):
        filled, unknown = tyro.cli(
            form, args=argv, prog=f"intarsia {verb}", description=description, return_unknown_args=True, **given
        )
    if unknown:
        word = next((word for word in unknown if word.startswith("-")), unknown[0]).partition("=")[0]
        raise InputError(f"`intarsia {verb}` takes no {word!r}.{similar(word, list(_names(form)))} See --help.")
    return filled


@contextlib.contextmanager
def _one_line(verb: str) -> Iterator[None]:
    """Turn tyro's boxed complaint into an `InputError` of its first paragraph."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            yield
    except SystemExit as stop:
        if not stop.code:
            raise
        # A title, then paragraphs between rules, in a frame; frame and rules are drawn with dashes where there is no UTF-8.
        inside = "\n".join(line.strip("│ ") for line in complaint.getvalue().splitlines()[1:])
        paragraph = " ".join(next(text for text in re.split(r"[─-]{5,}", inside) if text.strip()).split())
        paragraph = paragraph.replace("Error parsing ", "")
        paragraph = re.sub(r"Missing from .*?: (\S+) .*", rf"`intarsia {verb}` needs \1", paragraph)
        paragraph = re.sub(r"invalid literal for int\(\) with base 10: ('.*')", r"\1 is not a whole number", paragraph)
        paragraph = re.sub(r"could not convert string to float: ('.*')", r"\1 is not a number", paragraph)
        paragraph = re.sub(r"no type matching \{None\}\|.*? - <class '\w+'>: (?!\[)", "", paragraph)  # of what may be left out
        raise InputError(f"{paragraph.rstrip('.')}. See `intarsia {verb} --help`.") from None


def _names(form: Any, prefix: str = "--") -> Iterator[str]:
    """The options of a form, as they are typed."""
    for item in dataclasses.fields(form):
        inner = UNNAMED.get(item.name, item.type)
        if dataclasses.is_dataclass(inner):
            yield from _names(inner, prefix if item.name in UNNAMED else f"{prefix}{item.name}.")
        elif "Positional" not in str(inner) and item.name != "dataset":
            yield f"{prefix}{item.name.replace('_', '-')}"


def similar(word: str, known: Any) -> str:
    """What may have been meant."""
    word = word.replace("_", "-") if word.startswith("--") else word
    lasts = {name: name.lstrip("-").split(".")[-1] for name in known}
    same = [name for name, last in lasts.items() if last == word.lstrip("-")]
    begun = [name for name, last in lasts.items() if last.startswith(word.lstrip("-"))]
    close = same or begun[:3] or difflib.get_close_matches(word, known, n=3, cutoff=0.7)
    return f" Did you mean {' or '.join(close)}?" if close else ""
