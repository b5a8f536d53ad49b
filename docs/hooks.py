"""What the documentation site needs beside its plugins: notebooks, equations, and two checks that fail the build.

MkDocs calls the functions whose names begin with `on_`.
"""

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path, PurePosixPath

import griffe
import nbformat
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
NAMES = "<!-- the names of intarsia.__all__ -->"
WIDGET = "application/vnd.jupyter.widget-view+json"
ELSEWHERE = r"""((?:https?:)?//[^"'>)\s]+)"""
LOADING = r"<(?:script|img|iframe|source|video|link)\b[^>]*?\b(?:src|href)="
LOADED = re.compile(rf"""(?:{LOADING}|url\()["']?{ELSEWHERE}""")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Run each notebook and put a page with its output in its place."""
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        files.remove(notebook)
        for file in _executed(notebook, config):
            files.append(file)
    return files


def _executed(notebook: File, config: MkDocsConfig) -> Iterator[File]:
    content = nbformat.reads(notebook.content_string, as_version=4)
    NotebookClient(content, timeout=600, extra_arguments=["--log-level=ERROR"]).execute(cwd=str(ROOT))
    _keep_results(content)
    text, resources = MarkdownExporter().from_notebook_node(content)
    page = PurePosixPath(notebook.src_uri)
    yield File.generated(config, str(page.with_suffix(".md")), content=text)
    for name, picture in resources["outputs"].items():
        yield File.generated(config, str(page.parent / name), content=picture)


def _keep_results(content: nbformat.NotebookNode) -> None:
    """Leave out progress bars and messages: only a running notebook shows them."""
    for cell in content.cells:
        cell["outputs"] = [
            output
            for output in cell.get("outputs", [])
            if WIDGET not in output.get("data", {}) and output.get("name") != "stderr"
        ]


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **given: object) -> str:
    """Put the table of the package's names where a page asks for it; lead links out of this folder to the repository."""
    folder = (HERE / page.file.src_uri).parent

    def outside(found: re.Match[str]) -> str:
        target = (folder / found[1]).resolve()
        if target.is_relative_to(HERE) or not target.exists():
            return found[0]
        return f"]({config.extra['repository']}/blob/main/{target.relative_to(ROOT)}"

    markdown = re.sub(r"\]\((\.\./[^)#\s]+)", outside, markdown)
    return markdown.replace(NAMES, "\n".join(_names())) if NAMES in markdown else markdown


def _names() -> Iterator[str]:
    package = _package()
    yield from ("| name | what it is |", "|---|---|")
    for name in package.exports or []:
        member = package[name].final_target
        if not member.docstring:
            raise PluginError(f"{member.path} has no docstring")
        sentence = re.split(r"(?<=[.:])\s", member.docstring.value)[0].rstrip(".:")
        yield f"| [`{name}`][{member.path}] | {sentence} |"


def _package() -> griffe.Module:
    package = griffe.load("intarsia", search_paths=[ROOT])
    assert isinstance(package, griffe.Module)
    return package


def on_page_content(html: str, **given: object) -> str:
    """Turn the equations of a page into MathML, which browsers draw by themselves."""
    html = re.sub(r'<span class="arithmatex">\\\((.*?)\\\)</span>', lambda found: _mathml(found[1], "inline"), html, flags=re.S)
    block = r'(<div class="arithmatex">)\\\[(.*?)\\\](?=</div>)'  # site.css lets wide ones scroll
    return re.sub(block, lambda found: found[1] + _mathml(found[2], "block"), html, flags=re.S)


def _mathml(latex: str, display: str) -> str:
    return convert(unescape(latex).strip(), display=display)


def on_post_build(config: MkDocsConfig) -> None:
    """Fail if a page loads something from elsewhere, or a public name is undocumented or has no place in the reference."""
    site = Path(config.site_dir)
    faults = [
        f"{path.relative_to(site)} loads {found[1]}"
        for path in sorted([*site.rglob("*.html"), *site.rglob("*.css")])
        for found in LOADED.finditer(path.read_text())
    ]
    reference = "".join(path.read_text() for path in (site / "api").glob("*.html"))
    shown = set(re.findall(r'\bid="(intarsia[\w.]*)"', reference))
    faults += undocumented(_package(), shown)
    if faults:
        raise PluginError("\n".join(faults))


def undocumented(parent: griffe.Object, shown: set[str]) -> Iterator[str]:
    """Yield what is wrong with the public modules, classes, functions and methods below an object."""
    for name, member in parent.members.items():
        if name.startswith(("_", "test_")) or member.is_alias or member.is_attribute:
            continue
        if not member.has_docstring:
            yield f"{member.path} has no docstring"
        elif member.path not in shown:
            yield f"{member.path} is not in the API reference"
        yield from undocumented(member, shown)
