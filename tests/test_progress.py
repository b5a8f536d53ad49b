"""Where progress bars are shown."""

from io import StringIO

import pytest
from rich.console import Console

from intarsia.progress import is_seen, track


@pytest.mark.parametrize(("terminal", "notebook", "seen"), [(True, False, True), (False, True, True), (False, False, False)])
def test_bars_are_for_terminals_and_notebooks(terminal: bool, notebook: bool, seen: bool) -> None:
    assert is_seen(Console(file=StringIO(), force_terminal=terminal, force_jupyter=notebook)) == seen


def test_a_bar_changes_neither_items_nor_a_redirected_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(iter([3, 1, 2]), "Numbers")) == [3, 1, 2]
    assert capsys.readouterr() == ("", "")
