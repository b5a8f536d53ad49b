import errno
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from intarsia.errors import InputError
from intarsia.files import HOLDER, held, is_unfinished, make_folder, readable_name, replacing


def test_the_file_appears_whole(tmp_path):
    path = tmp_path / "weights"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == tmp_path and is_unfinished(temporary)
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_an_error_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "weights"
    path.write_text("old")
    with pytest.raises(type(error)), replacing(path) as temporary:
        temporary.write_text("ne")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_an_input_error(tmp_path):
    path = tmp_path / "weights"
    path.write_text("old")
    message = r"weights: No space left on device\. What was there before is unchanged"
    with pytest.raises(InputError, match=message) as caught, replacing(path) as temporary:
        temporary.write_text("ne")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "\n" not in str(caught.value)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_takes_no_file_is_an_input_error(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "absent" / "weights", tmp_path / "file" / "weights"):
        with pytest.raises(InputError, match="Can't write"), replacing(path) as temporary:
            temporary.write_text("new")


def test_folders_are_made_with_their_parents(tmp_path):
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="Can't make the folder"):
            make_folder(folder)


def test_only_leftovers_are_unfinished(tmp_path):
    assert is_unfinished(tmp_path / ".checkpoint.pt.123.unfinished")
    for name in ("checkpoint.pt", ".git", "notes.unfinished", ".unfinished.txt"):
        assert not is_unfinished(tmp_path / name)


def test_names_that_are_not_utf8_are_shown(tmp_path):
    assert readable_name(tmp_path / os.fsdecode("äö".encode())) == "äö"
    assert readable_name(tmp_path / os.fsdecode(b"r\xe4tsel")) == r"r\xe4tsel"


@contextmanager
def another_process(code: str, *arguments: Path):
    """A process that runs some code on files, as far as the line in which it prints."""
    program = f"import sys, time\nfrom pathlib import Path\nfrom intarsia.files import held, replacing\n{code}"
    command = [sys.executable, "-c", program, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


WRITES = """
with replacing(Path(sys.argv[1])) as path:
    path.write_text("ne")
    print("ready", flush=True)
    time.sleep(60)
"""
HOLDS = """
with held(Path(sys.argv[1])):
    print("ready", flush=True)
    time.sleep(60)
"""


def test_unfinished_files_of_killed_writers_are_removed_and_those_of_others_stay(tmp_path):
    with another_process(WRITES, tmp_path / "weights") as process:
        make_folder(tmp_path)
        assert [path.read_text() for path in tmp_path.iterdir()] == ["ne"]
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(list(tmp_path.iterdir())) == 1
    (tmp_path / "mine.unfinished").touch()
    make_folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.unfinished"]


def test_a_folder_is_held_by_one_process(tmp_path):
    folder = tmp_path / "run"
    with another_process(HOLDS, folder) as process:
        with pytest.raises(InputError) as caught, held(folder):
            pass
        who = rf"is in use by process {process.pid} on {socket.gethostname()} since "
        assert re.search(who + r"20\d\d(-\d\d){2} \d\d(:\d\d){2} [+-]\d{4}\. Wait", str(caught.value))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert [path.name for path in folder.iterdir()] == [HOLDER]
    with held(folder):  # that of the dead process is taken over
        assert f"process {os.getpid()} on" in (folder / HOLDER).read_text()
    assert folder.is_dir() and not list(folder.iterdir())


def test_two_threads_do_not_hold_one_folder(tmp_path):
    def ask():
        try:
            with held(tmp_path):
                said.append("held")
        except InputError as error:
            said.append(str(error))

    said = []
    with held(tmp_path):
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    assert "is in use by process" in said[0]


def test_a_folder_that_was_made_to_be_held_is_removed_where_nothing_was_written(tmp_path):
    with pytest.raises(ValueError), held(tmp_path / "run"):
        raise ValueError
    assert not list(tmp_path.iterdir())
    with held(tmp_path / "run"):
        (tmp_path / "run" / "log").touch()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["log"]


def test_where_the_file_system_knows_no_locks_nobody_is_kept_out(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("intarsia.files.lock_descriptor", refuse)
    (tmp_path / ".weights.1.unfinished").touch()
    with ExitStack() as stack:
        stack.enter_context(held(tmp_path))
        stack.enter_context(held(tmp_path))
        with replacing(tmp_path / "weights") as path:
            path.write_text("new")
    assert (tmp_path / "weights").read_text() == "new"
    assert (tmp_path / ".weights.1.unfinished").exists()  # its writer may be alive


def test_a_folder_that_takes_no_files_is_an_input_error(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(InputError, match=r"Can't write to the folder .*: No space left on device"):
        make_folder(tmp_path)
    assert not list(tmp_path.iterdir())
