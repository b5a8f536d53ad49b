"""Fuzzing of readers: damaged files are refused with one sentence, or read; nothing else happens."""

import json
import random
import shutil
import signal
import time
import traceback
from pathlib import Path
from typing import Any

from intarsia.errors import InputError
from tests.campaigns.children import in_child
from tests.campaigns.damage import damaged
from tests.campaigns.readers import READERS, Reader, same

MEMORY = 3 << 30  # bytes that a reader may take
CPU_SECONDS = 30  # for one case


def fuzz(name: str, seconds: float, seed: int, folder: Path) -> tuple[int, list[dict[str, Any]]]:
    """Damage the files of a reader for so long; the number of cases, and the violations.

    Each violation keeps its files, in a folder beside `folder` that it names.
    """
    cases, violations, until = 0, list[dict[str, Any]](), time.monotonic() + seconds
    while time.monotonic() < until:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        record = folder.with_name(f"{folder.name}.jsonl")
        record.write_text("")
        first = seed + cases

        def work(first: int = first, record: Path = record) -> int:
            return _cases(READERS[name], first, until, folder / "files", record)

        ended = in_child(work, memory_bytes=MEMORY)
        found = [json.loads(line) for line in record.read_text().splitlines()]
        done = [line for line in found if "kind" not in line]
        violations += [line for line in found if "kind" in line]
        cases += len(done)
        if ended.code:
            cases += 1
            last = first + len(done)
            what = {"seed": last, "kind": f"ended with {ended.code}", "said": ended.said[-500:]}
            violations.append({**what, "files": _keep(folder / "files", last)})
    return cases, violations


def _cases(reader: Reader, seed: int, until: float, folder: Path, record: Path) -> int:
    folder.mkdir()
    files = reader.make(folder)
    whole, before = {path: path.read_bytes() for path in files}, reader.read(folder)
    with record.open("a", buffering=1) as output:
        while time.monotonic() < until:
            violation = case(reader, folder, whole, before, seed)
            if violation:
                output.write(json.dumps({"seed": seed, **violation, "files": _keep(folder, seed)}) + "\n")
                for path, content in whole.items():
                    path.write_bytes(content)
            output.write(json.dumps({"seed": seed}) + "\n")
            seed += 1
    return 0


def case(reader: Reader, folder: Path, whole: dict[Path, bytes], before: Any, seed: int) -> dict[str, Any] | None:
    """Damage one file and read; what was wrong, if anything. Where nothing was, the file is mended."""
    chance = random.Random(seed)
    path = chance.choice(list(whole))
    path.write_bytes(damaged(whole[path], chance))
    signal.signal(signal.SIGVTALRM, _too_long)
    signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)
    violation = None
    try:
        found = reader.read(folder)
        if reader.sums and not same(found, before):
            violation = {"kind": "misread", "said": f"{path.name} is read as something else"}
    except InputError as error:
        if "\n" in str(error):
            violation = {"kind": "more than one line", "said": str(error)}
    except BaseException as error:
        places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
        violation = {"kind": type(error).__name__, "said": f"{str(error)[:300]} ({' '.join(places[-4:])})"}
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    if violation:
        return {"file": path.name, **violation}
    path.write_bytes(whole[path])
    return None


def _too_long(number: int, frame: Any) -> None:
    raise TimeoutError(f"more than {CPU_SECONDS} s of the processor")


def _keep(folder: Path, seed: int) -> str:
    """Copy the files of a violation, unless there are many already; the name of their folder."""
    kept = folder.parents[1] / "violations" / f"{folder.parent.name}-{seed}"
    if len(list(kept.parent.glob("*")) if kept.parent.is_dir() else []) < 50:
        shutil.copytree(folder, kept, dirs_exist_ok=True)
    return kept.name
