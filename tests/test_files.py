import errno
import os

import pytest

from intarsia.errors import InputError
from intarsia.files import is_unfinished, make_folder, readable_name, replacing


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
