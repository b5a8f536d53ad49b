"""The rules of CONTRIBUTING.md that a program can check. Sources are only parsed, never imported."""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Imports point down. Units of one layer don't see each other; the modules inside one subpackage (one unit) do.
LAYERS: tuple[set[str], ...] = (
    {"shapes", "errors", "files", "recipes", "formats", "checkpoints", "processes", "progress"},
    {"data", "networks", "scene", "masks", "clusters", "objectives", "metrics", "pictures", "engine", "weights"},
    {"assembly"},
    {"model", "records"},
    {"rendering", "prediction"},
    {"stages", "manipulation", "baselines", "novelty"},
    {"evaluation", "interop", "studio", "testing"},
    {"commands"},
)
LAYER_OF = {unit: layer for layer, units in enumerate(LAYERS) for unit in units}
SEEN_BY_NEIGHBOURS = {"shapes", "errors", "files", "__version__"}
# Imported when they are called: `Model.render` hands over to the renderer, and a scene shows itself as pictures.
CONVENIENCES = {("model", "rendering"), ("scene", "pictures")}

PLAIN = {"networks", "metrics", "objectives", "masks", "formats"}  # take numbers and tensors, know no recipe
INFERENCE = {"model", "rendering", "novelty", "manipulation", "evaluation", "interop", "studio"}  # run without training
NAMES_DATASETS = {"recipes", "data"}

DATASET = re.compile(r"\b(multi_texture|multi_dsprites|objects_room|flying_animals|composed_photographs)")
MAX_FUNCTION, MAX_MODULE = 60, 350  # lines


@dataclass(frozen=True)
class Source:
    """One module of the package: its dotted name, whether it is an `__init__`, its text."""

    name: str
    text: str
    is_package: bool = False

    @property
    def unit(self) -> str:
        """What the layers speak of: the module or subpackage right below `intarsia`."""
        return self.name.split(".")[1] if "." in self.name else ""

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)


def sources() -> list[Source]:
    found = []
    for path in sorted((ROOT / "intarsia").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        found.append(Source(".".join(parts[:-1] if is_package else parts), path.read_text(), is_package))
    return found


def imported_units(source: Source, tree: ast.AST | None = None) -> Iterator[tuple[int, str]]:
    """Yields line and unit of every import from the package, lazy ones and those for types included; '' is the root."""
    for node in ast.walk(tree or source.tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = source.name.split(".")
                package = package[: len(package) - node.level + source.is_package]
                base = ".".join(package + ([node.module] if node.module else []))
            # `from intarsia import masks` names the unit after the import.
            targets = [f"{base}.{alias.name}" if base == "intarsia" else base for alias in node.names]
        else:
            continue
        for target in dict.fromkeys(targets):
            parts = target.split(".")
            if parts[0] == "intarsia":
                yield node.lineno, parts[1] if len(parts) > 1 else ""


def layers(all_sources: list[Source]) -> Iterator[str]:
    """Imports point down the layers."""
    for source in all_sources:
        if source.name == "intarsia.__main__":
            continue
        if source.unit == "":
            # Reading the version or a recipe must not load PyTorch: the package's own imports wait for their use.
            eager = ast.Module([node for node in source.tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
            for line, unit in imported_units(source, eager):
                if LAYER_OF.get(unit) != 0:
                    yield f"{source.name}:{line} imports {unit} when loaded"
            continue
        if source.unit not in LAYER_OF:
            yield f"{source.name} has no place in LAYERS"
            continue
        for line, unit in imported_units(source):
            down = unit in LAYER_OF and LAYER_OF[unit] < LAYER_OF[source.unit]
            if not (down or unit == source.unit or unit in SEEN_BY_NEIGHBOURS or (source.unit, unit) in CONVENIENCES):
                yield f"{source.name}:{line} imports {unit or 'the package root'}: not a unit below {source.unit}"


def plain_parts_know_no_recipe(all_sources: list[Source]) -> Iterator[str]:
    """Networks, losses, metrics and mask functions take plain numbers."""
    for source in all_sources:
        for line, unit in imported_units(source):
            if source.unit in PLAIN and unit == "recipes":
                yield f"{source.name}:{line} imports {unit}"


def inference_without_engine(all_sources: list[Source]) -> Iterator[str]:
    """Inference never imports the training engine, not even through another unit."""
    sees: dict[str, set[str]] = {}
    for source in all_sources:
        sees.setdefault(source.unit, set()).update(unit for _, unit in imported_units(source))
    for start in sorted(INFERENCE & sees.keys()):
        paths = [[start]]
        reached = {start}
        for path in paths:
            for unit in sorted(sees.get(path[-1], set()) - reached - {""}):
                reached.add(unit)
                paths.append([*path, unit])
                if unit == "engine":
                    yield " -> ".join(paths[-1])


def dataset_names_stay_home(all_sources: list[Source]) -> Iterator[str]:
    """No `if dataset == ...` outside recipes and data. Docstrings and help texts may name datasets."""
    for source in all_sources:
        if source.unit in NAMES_DATASETS:
            continue
        texts = set()
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Expr):  # a docstring, of an attribute too
                texts.add(node.value)
            elif isinstance(node, ast.keyword) and node.arg in {"help", "description"}:
                texts.update(ast.walk(node.value))
        for node in ast.walk(source.tree):
            is_text = isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in texts
            if is_text and DATASET.search(node.value):
                yield f"{source.name}:{node.lineno} names a dataset: {node.value!r}"


def public_is_documented(all_sources: list[Source]) -> Iterator[str]:
    """Modules and their public functions and classes have docstrings."""
    for source in all_sources:
        if not ast.get_docstring(source.tree):
            yield f"{source.name} has no docstring"
        for node in source.tree.body:
            is_definition = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            if is_definition and not node.name.startswith("_") and not ast.get_docstring(node):
                yield f"{source.name}:{node.lineno} {node.name} has no docstring"


def fits_on_a_screen(all_sources: list[Source]) -> Iterator[str]:
    """Functions and modules stay short."""
    for source in all_sources:
        if (length := len(source.text.splitlines())) > MAX_MODULE:
            yield f"{source.name} has {length} lines, more than {MAX_MODULE}"
        for node in ast.walk(source.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_FUNCTION:
                    yield f"{source.name}:{node.lineno} {node.name} has {length} lines, more than {MAX_FUNCTION}"


def dead_links(page: Path, text: str) -> Iterator[str]:
    """Yields the links of a Markdown page to files of the repository that don't exist."""
    text = re.sub(r"^ *(```|~~~).*?^ *\1", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"`[^`\n]*`", "", text)
    inline = re.findall(r"\]\(<?([^)\s>]+)", text)
    defined = re.findall(r"^ *\[[^\]]+\]: *<?([^\s>]+)", text, flags=re.MULTILINE)
    html = re.findall(r"(?:src|href)=\"([^\"]+)\"", text)
    for link in inline + defined + html:
        target = link.split("#")[0]
        is_address = re.match(r"[a-z][a-z0-9+.-]*:", link)
        if target and not is_address and not (page.parent / target).exists():
            yield f"{page.name} links to {link}"


Rule = Callable[[list[Source]], Iterator[str]]
RULES: list[Rule] = [
    layers,
    plain_parts_know_no_recipe,
    inference_without_engine,
    dataset_names_stay_home,
    public_is_documented,
    fits_on_a_screen,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_package_keeps_the_rule(rule: Rule) -> None:
    found = sources()
    assert found
    offences = list(rule(found))
    assert offences == []


def test_markdown_links_lead_to_files() -> None:
    ignored = {"runs", "build", "dist", "node_modules"}
    pages = [
        path
        for path in ROOT.rglob("*.md")
        if not any(part in ignored or part.startswith(".") for part in path.relative_to(ROOT).parts)
    ]
    assert pages
    dead = [link for page in pages for link in dead_links(page, page.read_text())]
    assert dead == []


def function(name: str, lines: int) -> str:
    return f'def {name}():\n    """Does."""\n' + "    pass\n" * (lines - 2)


OFFENCES = [
    (layers, Source("intarsia.masks", "from intarsia.model import Model")),
    (layers, Source("intarsia.masks", "from intarsia import metrics")),
    (layers, Source("intarsia.masks", "from intarsia import RECIPES")),
    (layers, Source("intarsia.masks", "def f():\n    import intarsia.engine as e")),
    (layers, Source("intarsia.networks.vae", "from ..objectives import separation")),
    (layers, Source("intarsia.networks", "from ..objectives import separation", is_package=True)),
    (layers, Source("intarsia.unplaced", "")),
    (layers, Source("intarsia", "from intarsia.model import Model", is_package=True)),
    (plain_parts_know_no_recipe, Source("intarsia.networks.vae", "from intarsia.recipes import Recipe")),
    (inference_without_engine, Source("intarsia.studio.server", "from intarsia.engine import Run")),
    (dataset_names_stay_home, Source("intarsia.engine", "def f(name):\n    return name == 'multi_dsprites'")),
    (dataset_names_stay_home, Source("intarsia.commands", "path = f'{root}/objects_room.npy'")),
    (public_is_documented, Source("intarsia.masks", '"""Masks."""\ndef f(): ...')),
    (public_is_documented, Source("intarsia.masks", '"""Masks."""\nclass C: ...')),
    (public_is_documented, Source("intarsia.masks", "x = 1")),
    (fits_on_a_screen, Source("intarsia.masks", function("f", MAX_FUNCTION + 1))),
    (fits_on_a_screen, Source("intarsia.masks", "x = 1\n" * (MAX_MODULE + 1))),
]


@pytest.mark.parametrize(("rule", "source"), OFFENCES)
def test_rule_finds_an_offence(rule: Rule, source: Source) -> None:
    assert len(list(rule([source]))) == 1


def test_engine_is_found_behind_other_units() -> None:
    chain = [
        Source("intarsia.evaluation", "def f():\n    from intarsia.baselines.kmeans import fit"),
        Source("intarsia.baselines.kmeans", "import intarsia.engine"),
    ]
    assert list(inference_without_engine(chain)) == ["evaluation -> baselines -> engine"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_leaves_good_code_alone(rule: Rule) -> None:
    good = [
        Source("intarsia", '"""Root."""\ndef __getattr__(n):\n    from intarsia.model import Model', is_package=True),
        Source("intarsia.__main__", '"""Main."""\nfrom intarsia.commands import main'),
        Source("intarsia.networks", '"""Nets."""\nfrom .vae import Vae\nfrom ..shapes import Masks', is_package=True),
        Source("intarsia.networks.vae", '"""Vae."""\nimport torch\nfrom . import layers\ndef _f(): ...'),
        Source("intarsia.model", '"""Model of multi_texture."""\nfrom intarsia import networks, recipes'),
        Source("intarsia.commands", '"""Cli."""\nadd("x", help="multi_texture, for one")\n' + function("f", MAX_FUNCTION)),
        Source("intarsia.recipes", '"""Recipes."""\nname = "multi_texture"'),
    ]
    offences = list(rule(good))
    assert offences == []


def test_dead_link_is_found() -> None:
    text = "[a](pyproject.toml#x) [b](gone.md) [c](https://example.org) `[d](code.md)`\n```\n[e](code.md)\n```\n"
    assert list(dead_links(ROOT / "README.md", text + '<img src="gone.png">')) == [
        "README.md links to gone.md",
        "README.md links to gone.png",
    ]
