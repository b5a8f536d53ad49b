"""A small part of the campaign: `make campaign` runs all of it."""

import dataclasses
import random
import signal
from pathlib import Path

import pytest
from PIL import Image

from intarsia.model import Model
from intarsia.recipes.settings import Vaes
from tests.campaigns import fuzzing
from tests.campaigns.children import in_child
from tests.campaigns.damage import damaged
from tests.campaigns.readers import READERS, TINY, Reader
from tests.campaigns.verbs import Trials

CASES = 30


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_refused_with_one_sentence_or_read(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    whole = {path: path.read_bytes() for path in reader.make(tmp_path)}
    before = reader.read(tmp_path)
    wrong = next(filter(None, (fuzzing.case(reader, tmp_path, whole, before, seed) for seed in range(CASES))), None)
    assert wrong is None


@pytest.mark.parametrize(
    ("read", "kind"),
    [
        (lambda folder: 1 / 0, "ZeroDivisionError"),
        (lambda folder: (folder / "file").read_bytes(), "misread"),
        (lambda folder: int("a"), "ValueError"),
    ],
)
def test_a_violation_is_found(read, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"whole")
    violation = fuzzing.case(Reader(lambda folder: [path], read, sums=True), tmp_path, {path: b"whole"}, b"whole", 0)
    assert violation is not None and violation["kind"] == kind and violation["file"] == "file"


def test_damage_depends_on_the_seed_alone_and_changes_the_content() -> None:
    for content in (b'{"a": [1, 2.5, "x"], "b": {"c": null}}', bytes(range(256)) * 4, b'{"step": 1}\n{"step": 2}\n'):
        found = [damaged(content, random.Random(seed)) for seed in range(200)]
        assert found == [damaged(content, random.Random(seed)) for seed in range(200)]
        assert len(set(found)) > 100 and sum(each == content for each in found) < 20


def test_children_are_stopped_limited_and_heard(tmp_path: Path) -> None:
    assert in_child(lambda: print("said") or 3)[:2] == (3, "said\n")
    assert in_child(lambda: signal.pause() or 0, stop=(0.05, signal.SIGKILL)).code == -signal.SIGKILL
    assert "Traceback" in in_child(lambda: 1 // 0).said
    assert "File too large" in in_child(lambda: (tmp_path / "file").write_bytes(bytes(100)) and 0, file_bytes=50).said
    assert "MemoryError" in in_child(lambda: len(bytearray(1 << 30)) and 0, memory_bytes=1 << 28).said


def test_predict_is_stopped_and_starved_and_run_again(tmp_path: Path) -> None:
    world = tmp_path / "world"
    Model(dataclasses.replace(TINY, vaes=Vaes(steps=0))).save(world / "run")
    Image.new("RGB", (64, 64), "red").save(world / "picture.png")
    trials = Trials("predict", world, tmp_path)
    assert trials.start() is None and trials.largest > 1000
    assert {path.rpartition(".")[2] for path in trials.expected} == {"png", "npz", "json"}
    chance = random.Random(0)
    assert [trials.stop(chance) for _ in range(3)] == [trials.fill(chance) for _ in range(3)] == [None] * 3
