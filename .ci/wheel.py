"""Checks the wheel as a user meets it: built, installed with the studio in a clean environment, and used there."""

import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MOST_MEGABYTES = 45  # of the wheel
SECONDS = 600  # for the installation, most of which is pip's; and as many for the studio


def main(constraints: str) -> None:
    """Raise an error at the first step that fails."""
    ends = time.monotonic() + SECONDS
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)

        def run(*command: str | Path) -> str:
            left = ends - time.monotonic()
            return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True, timeout=left).stdout

        pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "--no-input"]
        run(*pip, "wheel", "--no-deps", "--wheel-dir", folder, ROOT)
        (wheel,) = folder.glob("*.whl")
        megabytes = wheel.stat().st_size / 1e6
        assert megabytes < MOST_MEGABYTES, f"{wheel.name} has {megabytes:.1f} MB"
        models = {path.relative_to(ROOT) for path in ROOT.glob("intarsia/weights/*/*") if path.parent.name != "__pycache__"}
        missing = models - {Path(name) for name in zipfile.ZipFile(wheel).namelist()}
        assert not missing, f"{wheel.name} lacks {missing}"  # weights, or licences of the pictures that they learned from

        venv.create(folder / "venv", with_pip=False)
        python, intarsia = folder / "venv/bin/python", folder / "venv/bin/intarsia"
        run(*pip, "--python", python, "install", "-c", ROOT / constraints, f"{wheel}[studio]")
        where = run(python, "-c", "import intarsia; print(intarsia.__file__)")
        assert where.startswith(str(folder / "venv")), where
        assert (Path(where).parent / "py.typed").is_file()
        version = run(intarsia, "--version").split()[-1]
        assert wheel.name.startswith(f"intarsia-{version}-"), version
        run(intarsia, "demo")  # loads a shipped model
        assert list((folder / "runs").glob("*/demo/*.gif"))
        check_studio(intarsia, folder)
    print(f"{wheel.name}, {megabytes:.1f} MB, works where it is installed.")


def check_studio(intarsia: Path, folder: Path) -> None:
    """Start the studio, and load its page."""
    command = [intarsia, "serve", "--no-open", "--port", "0"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as server:
        limit = threading.Timer(SECONDS, server.kill)
        limit.start()
        try:
            assert server.stdout
            said = server.stdout.readline()  # Intarsia Studio: http://127.0.0.1:PORT/ (Ctrl-C ends it)
            address = next(word for word in said.split() if word.startswith("http"))
            with urllib.request.urlopen(address, timeout=60) as answer:
                page = answer.read().decode()
            assert answer.status == 200 and "Intarsia Studio" in page
        finally:
            limit.cancel()
            server.terminate()


if __name__ == "__main__":
    os.environ.pop("PYTHONPATH", None)  # the checkout must not be found
    main(*sys.argv[1:])
