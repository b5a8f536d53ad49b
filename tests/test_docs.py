"""The documentation site: its tutorials run, and its build finds what is wrong. `make docs` builds it."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import griffe
import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell

ROOT = Path(__file__).parent.parent
HOOKS = runpy.run_path(str(ROOT / "docs" / "hooks.py"))
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each cell runs and shows what it is for. The working directory does not matter."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    shell = InteractiveShell()
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            shell.run_cell(cell.source).raise_error()


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial_is_kept_without_output(path: Path) -> None:
    assert not any(cell.get("outputs") for cell in nbformat.read(path, as_version=4).cells)


def test_equations_become_mathml() -> None:
    html = HOOKS["on_page_content"](
        r'<p><span class="arithmatex">\(a &lt; b\)</span> <div class="arithmatex">\[x^2\]</div></p>'
    )
    assert html.count("<math") == 2 and 'display="block"' in html and "<msup>" in html and "\\" not in html


@pytest.mark.parametrize(
    ("html", "found"),
    [
        ('<script src="https://cdn.example/a.js"></script>', ["https://cdn.example/a.js"]),
        ("<img alt=x src=//example.org/a.png>", ["//example.org/a.png"]),
        ('<link rel="stylesheet" href="http://example.org/a.css">', ["http://example.org/a.css"]),
        ("@font-face { src: url(https://example.org/a.woff2) }", ["https://example.org/a.woff2"]),
        ('<a href="https://example.org">a link is followed by a person</a><img src="images/a.png">', []),
    ],
)
def test_what_a_page_would_load_from_elsewhere_is_found(html: str, found: list[str]) -> None:
    assert HOOKS["LOADED"].findall(html) == found


@pytest.mark.parametrize(
    ("page", "link", "shown"),
    [
        ("datasets.md", "../CONTRIBUTING.md", "https://example.org/blob/main/CONTRIBUTING.md"),
        ("notes/008-content.md", "../../benchmarks/judge.py", "https://example.org/blob/main/benchmarks/judge.py"),
        ("notes/008-content.md", "../datasets.md", "../datasets.md"),
        ("datasets.md", "../gone.md", "../gone.md"),  # left to MkDocs, which fails
    ],
)
def test_links_out_of_the_folder_lead_to_the_repository(page: str, link: str, shown: str) -> None:
    given = SimpleNamespace(file=SimpleNamespace(src_uri=page)), SimpleNamespace(extra={"repository": "https://example.org"})
    assert HOOKS["on_page_markdown"](f"[a]({link}#b)", *given) == f"[a]({shown}#b)"


def test_undocumented_names_are_found(tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(
        '"""A module."""\ndef shown():\n    """Does."""\n'
        'def hidden():\n    """Does."""\ndef silent(): ...\ndef _private(): ...\n'
        'class Kind:\n    """A class."""\n    def method(self): ...\n'
    )
    module = griffe.load("example", search_paths=[tmp_path])
    assert list(HOOKS["undocumented"](module, {"example.shown", "example.Kind"})) == [
        "example.hidden is not in the API reference",
        "example.silent has no docstring",
        "example.Kind.method has no docstring",
    ]
