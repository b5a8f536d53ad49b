"""The packages in examples/ are installed, and their own tests run, as a user would do it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = sorted(path.parent for path in (ROOT / "examples").glob("*/pyproject.toml"))


def test_there_is_an_example() -> None:
    assert PACKAGES


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_example_installs_and_passes_its_own_tests(package: Path, tmp_path: Path) -> None:
    """Into a folder of its own: in the environment of these tests, its names would be among Intarsia's."""
    source, site = tmp_path / package.name, tmp_path / "site"
    shutil.copytree(package, source)  # a build leaves files behind
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(site), str(source)], check=True)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (site, ROOT)))}
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    ended = subprocess.run(tests, cwd=source, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
