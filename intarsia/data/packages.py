"""Files of Debian's and npm's packages, and their licences. The packages are downloaded and unpacked, never installed."""

import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, NamedTuple

from intarsia.errors import InputError


class Licence(NamedTuple):
    """What a package's copyright file says about some of its files."""

    pattern: str  # of the files' names in the source
    name: str  # as `CC-BY-SA-4.0`
    holder: str  # of the copyright


@contextmanager
def package_files(
    dataset: str, source: Path | None, size: int, debian: Sequence[str], npm: Sequence[str] = ()
) -> Iterator[dict[str, Path]]:
    """The file of each package, by the package's name.

    Args:
        dataset: What is made of them, for messages.
        source: A folder with the files; without it they are downloaded, and removed again at the end.
        size: MB to download.
        debian: Names of Debian's packages.
        npm: Names of npm's packages.

    Raises:
        InputError: if a program is missing, the download fails, or the folder lacks a package.
    """
    for program in ("dpkg-deb", *(() if source else ("apt-get", *(["npm"] if npm else [])))):
        if not shutil.which(program):
            kinds = "Debian's packages" + (" and npm's" if npm else "")
            raise InputError(f"{dataset} is made of {kinds} and needs {program}, which is not on this machine.")
    commands = [["apt-get", "download", "-q", *debian], *([["npm", "pack", "--silent", *npm]] if npm else [])]
    patterns = {name: f"{name}_*.deb" for name in debian} | {
        name: f"{name.removeprefix('@').replace('/', '-')}-*.tgz" for name in npm
    }
    with tempfile.TemporaryDirectory() as temporary:
        if source is None:
            print(f"Downloading {size} MB: {', '.join(patterns)}.", file=sys.stderr)
            for command in commands:
                _run(command, Path(temporary))
        yield {name: _newest(source or Path(temporary), pattern, commands) for name, pattern in patterns.items()}


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        hint = " (apt-get update may help)" if command[0] == "apt-get" else ""
        raise InputError(f"{command[0]} can't download {', '.join(command[3:])}: {done.stderr.strip()}{hint}.")


def _newest(folder: Path, pattern: str, commands: list[list[str]]) -> Path:
    files = sorted(folder.glob(pattern))
    if not files:
        how = "; ".join(f"`{' '.join(command)}`" for command in commands)
        raise InputError(f"{folder} holds no {pattern}; {how} puts all there.")
    return files[-1]


def members(file: Path, pattern: str) -> list[tuple[str, bytes]]:
    """Names and contents of those files in a package whose names end with a regular expression, in the order of the names."""
    if file.suffix != ".deb":
        with file.open("rb") as stream:
            return sorted(_matching(file, stream, "r|gz", pattern))
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", file], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as unpacking:
        return sorted(_matching(file, unpacking.stdout, "r|", pattern))


def _matching(file: Path, stream: IO[bytes] | None, mode: str, pattern: str) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
            for member in archive:
                if member.isfile() and re.search(f"({pattern})$", member.name):
                    content = archive.extractfile(member)
                    assert content
                    yield member.name, content.read()
    except (tarfile.TarError, EOFError) as error:
        raise InputError(f"{file} is no package: {error}.") from error


@contextmanager
def reading(name: str, file: Path) -> Iterator[None]:
    """Turn an error while a picture of a package is read into an `InputError` that names both."""
    try:
        yield
    except (OSError, UnicodeError) as error:
        raise InputError(f"{name} in {file.name} can't be read: {error}.") from error


def versions(files: dict[str, Path]) -> str:
    """Names and versions of packages, from the names of their files."""
    names = (path.name.removesuffix("_all.deb").removesuffix(".tgz") for path in files.values())
    return ", ".join(name.replace("_", " ").replace("%3a", ":") for name in names)


def licences(copyright_file: str) -> list[Licence]:
    """The licences in a Debian package's copyright file, in order. For a file, the last one whose pattern fits applies."""
    found = []
    for paragraph in re.split(r"\n\s*\n", copyright_file):
        fields = dict(re.findall(r"^([A-Z][a-z]+):((?:.*)(?:\n[ \t].*)*)", paragraph.strip(), re.MULTILINE))
        if fields.keys() >= {"Files", "Copyright", "License"}:
            name, holder = fields["License"].strip().split("\n")[0], " ".join(fields["Copyright"].split())
            found += [Licence(pattern, name, holder) for pattern in fields["Files"].split()]
    return found


def licence_of(name: str, known: Sequence[Licence]) -> Licence | None:
    """The licence of a file by its name in the source; None if there is none."""
    return next((licence for licence in reversed(known) if fnmatchcase(name, licence.pattern)), None)
