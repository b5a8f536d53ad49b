"""What 200 clients of the studio wait for, and what that does to its memory: `python benchmarks/strain.py`.

It starts a server of its own, on the loopback address. Most clients behave like people at the page: they open a picture, then
set sliders, drag objects, look at strips and animations, with pauses in between. The others are hostile: they leave uploads
and headers unfinished, or ask for 1,000 moves and leave. Clients and server share the cores. The last line is a JSON object.
"""

import json
import os
import random
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from statistics import quantiles
from typing import Annotated, Any

sys.path.insert(0, str(Path(__file__).parent.parent))  # tests/studio/serving.py

import tyro
from annotated_types import Interval
from PIL import Image

from intarsia.data import open_dataset
from tests.studio.serving import ask

MODEL = "multi_dsprites"
KINDS = {"slider": 65, "drag": 5, "strip": 15, "gif": 1, "upload": 4, "page": 10}  # and how often each is asked for
ALLOWED = {"slider": 1.0, "drag": 1.0, "upload": 5.0}  # s, for 95 %
MOST_EDITS = 20  # of a picture, before a client begins anew
PHOTO = 640  # px, of the pictures that are opened
PATIENCE = 8.0  # s for which a hostile client holds a connection


class Person:
    """A client at the page."""

    def __init__(self, port: int, number: int, content: bytes) -> None:
        self.port, self.content, self.chance = port, content, random.Random(number)
        self.path, self.edits, self.objects = "", list[Any](), list[Any]()

    def ask(self) -> tuple[str, int]:
        """Asks for something; what it was, and the status."""
        kind = self.chance.choices([*KINDS], [*KINDS.values()])[0] if self.path else "upload"
        if kind == "page":
            return kind, ask(self.port, "GET", self.chance.choice(["/", "/api/model", "/page/main.js"]))[0]
        if kind == "upload":
            return kind, self.upload()
        if kind == "gif":
            return kind, ask(self.port, "POST", f"{self.path}/gif", {"edits": self.edits})[0]
        number = self.chance.choice([each["number"] for each in self.objects if not each["empty"]] or [None])
        part = "background" if number is None else self.chance.choice(["shape", "texture"])
        code = {"object": number, "part": part, "dimension": self.chance.randrange(5)}
        if kind == "strip":
            return kind, ask(self.port, "POST", f"{self.path}/strip", {"edits": self.edits, **code})[0]
        if kind == "slider" or number is None:
            return "slider", self.view({"edit": "set_code", **code, "value": self.chance.uniform(-2, 2)})
        across, down = self.chance.uniform(-8, 8), self.chance.uniform(-8, 8)
        status = self.view(moved := {"edit": "move", "object": number, "dx": across, "dy": down})
        self.edits = [*self.edits, moved][-MOST_EDITS:] if status == 200 else self.edits
        return kind, status

    def upload(self) -> int:
        status, answer = ask(self.port, "POST", "/api/scenes", self.content)
        if status == 200:
            self.path, self.edits = f"/api/scenes/{answer['id']}", []
        return status

    def view(self, edit: dict[str, Any]) -> int:
        status, answer = ask(self.port, "POST", f"{self.path}/view", {"edits": [*self.edits, edit]})
        self.objects = answer["objects"] if status == 200 else self.objects
        self.path = "" if status == 404 else self.path  # dropped: the page opens it again then
        return status


def pester(port: int, number: int, path: str) -> None:
    """Be hostile once."""
    moves = json.dumps({"edits": [{"edit": "move", "object": 1, "dx": each / 100, "dy": 1} for each in range(1000)]})
    start, seconds = (
        ("POST /api/scenes HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n\r\n.", PATIENCE),
        ("GET / HTTP/1.1\r\nHost: loc", PATIENCE),
        (f"POST {path}/view HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(moves)}\r\n\r\n{moves}", 1.0),
    )[number % 3]
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(start.encode())
        time.sleep(seconds)


@contextmanager
def serving(threads: int) -> Iterator[tuple[int, int]]:
    """A server's port and process."""
    command = [sys.executable, "-m", "intarsia", "serve", MODEL, "--no-open", "--port", "0", "--threads", str(threads)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield int(process.stdout.readline().split("/ ")[0].rpartition(":")[2]), process.pid
        finally:
            process.terminate()


def megabytes(process: int) -> float:
    """The memory of a process."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


def photos(count: int) -> list[bytes]:
    found = []
    for image in open_dataset(MODEL, 0, "test")(list(range(count))).images:
        content = BytesIO()
        shown = Image.fromarray((image * 255).byte().permute(1, 2, 0).numpy()).resize((PHOTO, PHOTO))
        shown.save(content, "jpeg", quality=95)
        found.append(content.getvalue())
    return found


def strain(port: int, people: int, hostile: int, seconds: float, pause: float) -> tuple[dict[str, list[float]], dict[str, int]]:
    """The seconds that each kind of request took, and how often it went wrong, by what."""
    took, wrong, end = defaultdict[str, list[float]](list), defaultdict[str, int](int), time.monotonic() + seconds
    contents = photos(people)

    def attend(number: int) -> None:
        person, chance = Person(port, number, contents[number]), random.Random(number)
        time.sleep(chance.uniform(0, pause))
        while time.monotonic() < end:
            began = time.monotonic()
            try:
                kind, status = person.ask()
                took[kind].append(time.monotonic() - began)
            except OSError as error:
                kind, status = "connection", type(error).__name__
            if status != 200:
                wrong[f"{kind} {status}"] += 1
            time.sleep(chance.expovariate(1 / pause))

    def annoy(number: int) -> None:
        path = f"/api/scenes/{ask(port, 'POST', '/api/scenes/random')[1]['id']}"
        while time.monotonic() < end:
            pester(port, number, path)

    with ThreadPoolExecutor(people + hostile) as clients:
        done = [clients.submit(attend, number) for number in range(people)]
        done += [clients.submit(annoy, number) for number in range(hostile)]
    for each in done:
        each.result()
    return took, wrong


def main(
    clients: Annotated[int, Interval(ge=2, le=1000)] = 200,
    hostile: Annotated[int, Interval(ge=0, le=500)] = 20,
    seconds: Annotated[float, Interval(gt=0, le=600)] = 60.0,
    pause: Annotated[float, Interval(ge=0.1, le=60)] = 10.0,
    threads: int = 2,
) -> None:
    """Put a server under strain.

    Args:
        clients: The number of all clients.
        hostile: How many of them are hostile.
        seconds: For which they ask.
        pause: Seconds between an answer and the next request of a client, on average.
        threads: The server's number of threads.
    """
    with serving(threads) as (port, process):
        strain(port, 2, 0, 2.0, 0.1)  # what the first requests load stays in memory
        before, load = megabytes(process), os.getloadavg()[0]
        took, wrong = strain(port, clients - hostile, hostile, seconds, pause)
        after, beside = megabytes(process), os.getloadavg()[0]
    print(f"{clients} clients, {hostile} of them hostile, for {seconds:g} s; load before {load:.1f}, after {beside:.1f}")
    print(f"{'':<10}{'requests':>10}{'p50':>8}{'p95':>8}{'allowed':>9}   s")
    figures: dict[str, Any] = {"errors": sum(wrong.values()), "memory": [round(before), round(after)]}
    for kind in KINDS:
        if len(took[kind]) > 1:
            cuts = quantiles(took[kind], n=20, method="inclusive")
            figures[kind] = [round(cuts[9], 3), round(cuts[18], 3)]
            print(f"{kind:<10}{len(took[kind]):>10}{cuts[9]:>8.2f}{cuts[18]:>8.2f}{ALLOWED.get(kind, ''):>9}")
    print(f"errors: {figures['errors']}", *(f"({kind}: {count})" for kind, count in wrong.items()))
    print(f"memory: {before:.0f} MB before, {after:.0f} MB after")
    print(json.dumps(figures))


if __name__ == "__main__":
    tyro.cli(main)
