"""What installed packages add to Intarsia, by entry points. No module of theirs is imported before it is used."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from intarsia.errors import InputError

DATASETS, RECIPES, NETWORKS = "intarsia.datasets", "intarsia.recipes", "intarsia.networks"

T = TypeVar("T")


class Catalogue(Mapping[str, T]):
    """Intarsia's own things of one kind by name, then those of installed packages.

    A package can't replace what has a name here.

    Args:
        group: The group of entry points whose names are added.
        kind: The type of each thing.
        own: Intarsia's own.
    """

    def __init__(self, group: str, kind: Any, own: Mapping[str, T]) -> None:
        self.group, self.kind, self.own = group, kind, own

    def __getitem__(self, name: str) -> T:
        """The thing of that name; `InputError` if its package is broken, or two packages have the name."""
        return self.own[name] if name in self.own else loaded(self._added[name], self.kind)

    def __iter__(self) -> Iterator[str]:
        yield from self.own
        yield from self._added

    def __len__(self) -> int:
        return len(self.own) + len(self._added)

    @cached_property
    def _added(self) -> dict[str, list[EntryPoint]]:
        found: dict[str, list[EntryPoint]] = {}
        for entry in entry_points(group=self.group):
            if entry.name not in self.own:
                found.setdefault(entry.name, []).append(entry)
        return found


def networks() -> dict[str, list[EntryPoint]]:
    """The networks of installed packages, under the names that recipes have for them: `PACKAGE:NAME`."""
    return {f"{package_of(entry)}:{entry.name}": [entry] for entry in entry_points(group=NETWORKS)}


def loaded(entries: list[EntryPoint], kind: Any) -> Any:
    """What the only one of some entry points of one name leads to.

    Raises:
        InputError: if it can't be imported, is not of that kind, or is not the only one.
    """
    entry = entries[0]
    packages = " and ".join(package_of(each) for each in entries)
    if len(entries) > 1:
        raise InputError(f"{packages} both add {entry.name!r} to {entry.group}; uninstall one of them.")
    added = f"{packages} adds {entry.name!r} to {entry.group}, but {entry.value}"
    try:
        found = entry.load()
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{added} can't be loaded: {said}.") from error
    if not isinstance(found, kind):
        raise InputError(f"{added} is no {kind.__name__} but a {type(found).__name__}.")
    return found


def package_of(entry: EntryPoint) -> str:
    """The name under which an entry point's package is installed."""
    return entry.dist.name if entry.dist else entry.module
