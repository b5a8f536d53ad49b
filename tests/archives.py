"""Small packages for tests."""

import io
import shutil
import subprocess
import tarfile
from pathlib import Path


def debian_package(folder: Path, name: str, files: dict[str, bytes]) -> None:
    """A Debian package with some files."""
    tree = folder / name
    control = f"Package: {name}\nVersion: 1.0\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: x\n"
    for path, content in ({"DEBIAN/control": control.encode()} | files).items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(content)
    subprocess.run(["dpkg-deb", "--build", "-Znone", tree, folder / f"{name}_1.0_all.deb"], check=True, capture_output=True)
    shutil.rmtree(tree)


def npm_package(folder: Path, name: str, files: dict[str, bytes]) -> Path:
    """An npm package with some files."""
    path = folder / f"{name}-1.0.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for member, content in files.items():
            info = tarfile.TarInfo(f"package/{member}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path
