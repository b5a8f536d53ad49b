"""The code of docs/extending.md runs, and the tests that it shows are found and pass."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "extending.md").read_text()


def blocks(language: str) -> str:
    return "\n\n".join(re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE))


def test_code_runs_as_a_file_of_tests(tmp_path: Path) -> None:
    (tmp_path / "test_page.py").write_text(blocks("python"))
    tests = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "test_page.py"]
    ended = subprocess.run(tests, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "segmenter is test_page:TinySegmenter, which is not of Intarsia" in ended.stdout
    log = (tmp_path / "runs/mine/separation/log.jsonl").read_text()
    assert "extra_loss" in log


def test_entry_points_are_those_of_the_example() -> None:
    example = tomllib.loads((ROOT / "examples/intarsia-squares/pyproject.toml").read_text())
    assert tomllib.loads(blocks("toml"))["project"]["entry-points"] == example["project"]["entry-points"]
