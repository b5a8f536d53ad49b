"""The commands that write: stopped at random moments or on a full disk, then run again. The result is as if never stopped."""

import importlib.util
import json
import random
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file

from intarsia import commands
from intarsia.files import is_unfinished
from intarsia.interop import importing
from intarsia.interop.checkpoint import Variable
from intarsia.model import Model
from intarsia.recipes.file import save_recipe
from tests.campaigns.children import Ended, in_child
from tests.campaigns.readers import same
from tests.interop.test_importing import RECIPE as ORIGINAL
from tests.interop.test_importing import checkpoint_of

NAME = "multi_dsprites/pixels"
SETTINGS = [
    *("--inpainting.steps", "6", "--inpainting.batch", "2", "--separation.steps", "6", "--separation.batch", "2"),
    *("--vaes.steps", "4", "--vaes.batch", "2", "--end-to-end.steps", "2", "--end-to-end.batch", "2"),
    *("--inpainter.channels", "2", "--segmenter.channels", "8", "--segmenter.dimension", "4", "--vae.channels", "2"),
    *("--vae.hidden", "8", "--fusion.channels", "2", "--show-every", "3", "--save-every", "2", "--accelerator", "cpu"),
    *("--precision", "32-true", "--threads", "1"),
]
VARIES = {"seconds", "minutes", "processor", "threads"}  # from call to call
PRELOADED = [  # so that a child is stopped at its work, not while it loads them
    importlib.import_module(name)
    for name in (
        *("intarsia.commands.demo", "intarsia.commands.export", "intarsia.commands.manipulate", "intarsia.commands.predict"),
        *("intarsia.commands.prepare", "intarsia.evaluation.report", "intarsia.evaluation.results", "intarsia.interop"),
        *("intarsia.stages", "torch.utils.tensorboard"),
    )
    if name.startswith("intarsia") or importlib.util.find_spec("tensorboard")
]
LEFT_OUT = ("tensorboard", "machine.json")  # grow with each call, or tell of the first one


@dataclass(frozen=True)
class Verb:
    """A command in a folder that `prepare_world` has filled.

    argv: The command line, in which {folder} is that folder.
    again: What is added when it is run a second time.
    out: The folder or file in it that the command writes.
    """

    argv: str
    again: str = ""
    out: str = "out"

    def words(self, folder: Path, again: bool = False) -> list[str]:
        return [word.format(folder=folder) for word in f"{self.argv} {self.again if again else ''}".split()]


VERBS: dict[str, Verb] = {
    "train": Verb("train", out="new"),  # its settings follow
    "train, resumed": Verb("train", out="half"),
    "prepare": Verb("prepare multi_dsprites --from {folder}/scenes.tfrecords --out {folder}/out"),
    "evaluate": Verb("evaluate {folder}/run --scenes 10 --out {folder}/out --threads 1"),
    "predict": Verb("predict {folder}/run {folder}/picture.png --out {folder}/out --threads 1", "--overwrite"),
    "manipulate": Verb(
        "manipulate {folder}/run {folder}/picture.png --traverse --count 1 --steps 4 --out {folder}/out --threads 1",
        "--overwrite",
    ),
    "demo": Verb("demo {folder}/run --out {folder}/out --threads 1", "--overwrite"),
    "report": Verb("report {folder}/run --threads 1", out="run/report.html"),
    "results": Verb("results {folder}/run --out {folder}/out/results.json"),
    "export": Verb("export {folder}/run {folder}/out"),
    "import-tf1": Verb("import-tf1 {folder}/original --recipe {folder}/original.json --out {folder}/out"),
}


def prepare_world(folder: Path, scenes: Callable[[Path], list[Path]]) -> None:
    """Fill a folder with what the commands read: a trained and evaluated run, half a run, a picture, a file of scenes."""
    folder.mkdir(parents=True)
    scenes(folder)
    pixels = np.random.default_rng(0).integers(0, 256, (80, 100, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "picture.png")
    save_recipe(ORIGINAL, folder / "original.json")
    variables = checkpoint_of(Model(ORIGINAL).autoencoder)
    # No checkpoint of the original is small enough to be kept here, so its values are given without a file.
    importing.read_checkpoint = lambda prefix: {name: Variable(v.shape, lambda v=v: v) for name, v in variables.items()}
    train = ["train", NAME, *SETTINGS]
    for argv in (
        [*train, "--run", f"{folder}/run"],
        [*train, "--run", f"{folder}/half", "--stage", "inpainting"],
        ["evaluate", f"{folder}/run", "--scenes", "10", "--threads", "1"],
    ):
        ended = run(argv)
        if ended.code:
            raise RuntimeError(f"{' '.join(argv)} ended with {ended.code}: {ended.said}")


def words_of(name: str, folder: Path, again: bool = False) -> list[str]:
    """The command line of a verb in a folder."""
    verb = VERBS[name]
    if name.startswith("train"):
        return ["train", NAME, *SETTINGS, "--run", f"{folder}/{verb.out}"]
    return verb.words(folder, again)


def run(argv: list[str], **limits: Any) -> Ended:
    """Run a command line in a child."""
    return in_child(lambda: commands.main(argv), **limits)


@dataclass
class Trials:
    """Trials of one verb in copies of a world: the outcome of an unbroken call, and what a broken one has to come to.

    Attributes:
        seconds: How long the unbroken call took.
        largest: The size in bytes of the largest file that it wrote.
    """

    name: str
    world: Path
    scratch: Path
    seconds: float = 0.0
    largest: int = 0
    expected: dict[str, Any] = field(default_factory=dict)

    def start(self) -> str | None:
        """Run the verb unbroken; what was wrong with it, if anything."""
        copy = self._copy()
        ended = run(words_of(self.name, copy))
        if ended.code:
            return f"unbroken: ended with {ended.code}: {ended.said[-500:]}"
        self.seconds, self.expected = ended.seconds, outcome(copy / VERBS[self.name].out)
        out = copy / VERBS[self.name].out
        written = [path for path in out.rglob("*") if path.is_file()] if out.is_dir() else [out]
        self.largest = max(path.stat().st_size for path in written)
        return None

    def stop(self, chance: random.Random) -> dict[str, Any] | None:
        """Stop it at a random moment by a random signal, and run it again; what was wrong, if anything."""
        number = chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
        after = chance.random() * self.seconds
        copy = self._copy()
        ended = run(words_of(self.name, copy), stop=(after, number))
        allowed = (-number,) if number == signal.SIGKILL else (130, -number)  # before the handlers are there, it ends at once
        how = f"{number.name} after {after:.3f} s"
        if ended.code not in (0, *allowed) or "Traceback" in ended.said:
            return {"how": how, "kind": f"ended with {ended.code}", "said": ended.said[-500:]}
        return self._again(copy, how)

    def fill(self, chance: random.Random) -> dict[str, Any] | None:
        """Run it where no file may grow beyond a random size, and again without; what was wrong, if anything."""
        size = int(chance.random() ** 3 * self.largest)
        copy = self._copy()
        before = outcome(copy / VERBS[self.name].out) if VERBS[self.name].out in ("run/report.html",) else None
        ended = run(words_of(self.name, copy), file_bytes=size)
        how = f"files of at most {size} bytes"
        complaints = [line for line in ended.said.splitlines() if line.startswith("intarsia: ")]
        if ended.code not in (0, 2) or "Traceback" in ended.said or (ended.code == 2 and len(complaints) != 1):
            return {"how": how, "kind": f"ended with {ended.code}", "said": ended.said[-800:]}
        if before is not None and ended.code and outcome(copy / VERBS[self.name].out) != before:
            return {"how": how, "kind": "changed", "said": "a failed call changed the file that was there"}
        return self._again(copy, how)

    def _again(self, copy: Path, how: str) -> dict[str, Any] | None:
        ended = run(words_of(self.name, copy, again=True))
        if ended.code:
            return {"how": how, "kind": f"run again, ended with {ended.code}", "said": ended.said[-500:]}
        out = copy / VERBS[self.name].out
        found = outcome(out)
        odd = sorted(name for name in found.keys() | self.expected.keys() if not same(found.get(name), self.expected.get(name)))
        if odd:
            return {"how": how, "kind": "other results", "said": ", ".join(odd)}
        left = [str(path.relative_to(copy)) for path in copy.rglob("*") if is_unfinished(path)]
        if left:
            return {"how": how, "kind": "left behind", "said": ", ".join(left)}
        return None

    def _copy(self) -> Path:
        copy = self.scratch / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        return Path(shutil.copytree(self.world, copy))


def outcome(out: Path) -> dict[str, Any]:
    """What files contain, by path, but for what differs from call to call."""
    paths = [path for path in out.rglob("*") if path.is_file()] if out.is_dir() else [out] if out.is_file() else []
    return {
        str(path.relative_to(out)): _content(path)
        for path in paths
        if not any(part in LEFT_OUT for part in path.relative_to(out).parts) and not is_unfinished(path)
    }


def _content(path: Path) -> Any:
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError:
            return path.read_bytes()
    if path.suffix == ".pt":
        return _steady(torch.load(path, weights_only=True))
    if path.suffix in (".json", ".jsonl"):
        return [_steady(json.loads(line)) for line in ([path.read_text()] if path.suffix == ".json" else path.open())]
    if path.suffix == ".html":
        return path.stat().st_size > 0
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return dict(arrays)
    return path.read_bytes()


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _steady(each) for name, each in value.items() if name not in VARIES}
    return [_steady(each) for each in value] if isinstance(value, list) else value
