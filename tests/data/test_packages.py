"""Files of packages, and their licences."""

import subprocess
from pathlib import Path

import pytest

from intarsia.data import packages
from intarsia.data.packages import licence_of, licences, members, package_files, versions
from intarsia.errors import InputError
from tests.archives import npm_package

COPYRIGHT = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: A. Author
License: GPL-3+

Files:
 images/*
 sounds/a.wav
Copyright: 2020 B. Brush,
           2021 C. Crayon
License: CC-BY-SA-4.0

Files: images/sky?.jpg
Copyright: NASA
License: public-domain
 From the NASA archive.

License: GPL-3+
 Files: of this paragraph are none.
"""


def test_the_last_pattern_that_fits_gives_the_licence() -> None:
    known = licences(COPYRIGHT)
    assert [licence.pattern for licence in known] == ["*", "images/*", "sounds/a.wav", "images/sky?.jpg"]
    found = {
        name: licence_of(name, known) for name in ("main.c", "images/land/hill.jpg", "images/sky7.jpg", "images/sky10.jpg")
    }
    assert [licence and licence.name for licence in found.values()] == [
        "GPL-3+",
        "CC-BY-SA-4.0",
        "public-domain",
        "CC-BY-SA-4.0",
    ]
    assert found["images/sky10.jpg"] == ("images/*", "CC-BY-SA-4.0", "2020 B. Brush, 2021 C. Crayon")
    assert licence_of("main.c", known[1:]) is None


def test_members_are_found_by_the_end_of_their_names(tmp_path: Path) -> None:
    file = npm_package(tmp_path, "things", {"b.webp": b"2", "a.webp": b"1", "a.webp.txt": b"3"})
    assert members(file, r"[ab]\.webp") == [("package/a.webp", b"1"), ("package/b.webp", b"2")]
    for damaged in "things-2.0.tgz", "things_2.0_all.deb":
        (tmp_path / damaged).write_text("no package")
        with pytest.raises(InputError, match=f"{damaged} is no package"):
            members(tmp_path / damaged, "a")


def test_packages_of_a_folder_are_found_by_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.shutil, "which", lambda program: program)
    for name in "rocks_1%3a1.0_all.deb", "rocks_1%3a2.0_all.deb", "maker-things-3.1.tgz":
        (tmp_path / name).touch()
    with package_files("scenes", tmp_path, 1, ["rocks"], ["@maker/things"]) as files:
        assert {name: path.name for name, path in files.items()} == {
            "rocks": "rocks_1%3a2.0_all.deb",
            "@maker/things": "maker-things-3.1.tgz",
        }
        assert versions(files) == "rocks 1:2.0, maker-things-3.1"
    with (
        pytest.raises(InputError, match=r"no other-\*\.tgz; `apt-get download -q rocks`; `npm pack --silent other` puts"),
        package_files("scenes", tmp_path, 1, ["rocks"], ["other"]),
    ):
        pass


def test_downloads_go_to_a_folder_that_does_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.shutil, "which", lambda program: program)

    def download(command: list[str], cwd: Path, **_: object) -> subprocess.CompletedProcess[str]:
        (cwd / {"apt-get": "rocks_1.0_all.deb", "npm": "things-3.1.tgz"}[command[0]]).touch()
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(packages.subprocess, "run", download)
    with package_files("scenes", None, 1, ["rocks"], ["things"]) as files:
        assert all(path.is_file() for path in files.values())
    assert not any(path.exists() for path in files.values())

    def fail(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 100, "", "no such package\n")

    monkeypatch.setattr(packages.subprocess, "run", fail)
    with (
        pytest.raises(InputError, match=r"apt-get can't download rocks: no such package \(apt-get update"),
        package_files("scenes", None, 1, ["rocks"]),
    ):
        pass


@pytest.mark.parametrize(("missing", "source"), [("dpkg-deb", Path()), ("apt-get", None), ("npm", None)])
def test_missing_programs_are_named(missing: str, source: Path | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.shutil, "which", lambda program: program != missing)
    with (
        pytest.raises(InputError, match=f"scenes is made of Debian's packages and npm's and needs {missing}, which is"),
        package_files("scenes", source, 1, ["rocks"], ["things"]),
    ):
        pass
