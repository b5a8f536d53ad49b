"""The hub is played by a folder, laid out as its cache is, and by a server on this machine; nothing leaves it."""

import base64
import dataclasses
import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

import intarsia
from intarsia.errors import InputError
from intarsia.evaluation import evaluate_run
from intarsia.interop.hub import METRICS, Trained, from_pretrained, model_card, push_to_hub
from intarsia.model import Model
from intarsia.recipes.settings import Fusion, Inpainter, Recipe, Segmenter, Vae, Vaes
from intarsia.records import PICTURE, SCORES, TRAINING
from intarsia.records.scores import Codes, Examples, Figures, MeanAndStd, Scores
from intarsia.weights import NOVELTY, RECIPE, WEIGHTS, weights_sha256

huggingface_hub = pytest.importorskip("huggingface_hub")
yaml = pytest.importorskip("yaml")

TINY = Recipe(
    "multi_dsprites",
    segments=3,
    inpainter=Inpainter(channels=2),
    segmenter=Segmenter(channels=8, dimension=4),
    vae=Vae(channels=2, hidden=8),
    fusion=Fusion(channels=2),
    vaes=Vaes(steps=0),
)
REPOSITORY, COMMIT = "someone/tiny", "0123456789abcdef0123456789abcdef01234567"
TRAINED = Trained("intarsia train multi_dsprites/pixels --seed 0", 6500, 32.31, "Abacus", 1, "0.1.0")
FIGURES = {"iou": 0.91, "miou": 0.92, "mbo": 0.93, "ari": 0.94, "fg_ari": 0.95}
WIDE = Recipe("multi_dsprites", height=64, width=96, segments=5)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    Model(TINY).save(folder, torch.float16)
    evaluate_run(folder, folder, scenes=10)
    (folder / TRAINING).write_text(json.dumps(dataclasses.asdict(TRAINED)))
    (folder / "notes.txt").write_text("mine")
    return folder


def scores_of(codes: Codes | None = None, **figures: float | None) -> Scores:
    shown = FIGURES | {"iou": MeanAndStd(FIGURES["iou"], 0.01), "miou_objects": None, "mbo_objects": None} | figures
    return Scores(
        "multi_dsprites", "generated", 0, 0, 2000, "ab12", Figures(**shown), Examples([], [], []), codes, recipe={}
    )  # fmt: skip


def metadata_of(card: str) -> dict[str, Any]:
    assert card.startswith("---\n")
    return dict(yaml.safe_load(card.split("---\n")[1]))


# The card.


def test_the_card_says_what_the_scores_say() -> None:
    card = model_card(REPOSITORY, WIDE, scores_of(), TRAINED, "mit", pictured=True)
    metadata = metadata_of(card)
    assert (metadata["license"], metadata["library_name"], metadata["datasets"]) == ("mit", "intarsia", ["multi_dsprites"])
    assert "object-centric-learning" in metadata["tags"]
    (model,) = metadata["model-index"]
    (result,) = model["results"]
    assert model["name"] == "tiny" and result["dataset"]["split"] == "test"
    assert {metric["type"]: metric["value"] for metric in result["metrics"]} == FIGURES
    for shown in ("2,000 test scenes", "b 3 64 96", "b 5 64 96", "`ab12`", "| FG-ARI | 0.950 |", "segments.png", REPOSITORY):
        assert shown in card
    for shown in ("intarsia train multi_dsprites/pixels --seed 0", "6,500 steps in 32.3 minutes on 1 thread of Abacus"):
        assert shown in card


def test_the_hubs_own_reader_understands_the_card() -> None:
    figures = {"psnr": 21.5, "ssim": 0.8, "locality": None, "locality_composited": 0.97}
    card = model_card(REPOSITORY, WIDE, scores_of(Codes(0, 200, [], {}), **figures), None, "cc-by-4.0")
    read = huggingface_hub.ModelCard(card).data
    assert read.license == "cc-by-4.0" and read.model_name == "tiny"
    assert {each.metric_name: each.metric_value for each in read.eval_results} == {
        METRICS[name]: value for name, value in (FIGURES | figures).items() if value is not None
    }


def test_a_card_without_training_or_picture_is_silent_about_them() -> None:
    card = model_card(REPOSITORY, WIDE, scores_of(), None, "mit")
    assert "## Training" not in card and "segments.png" not in card and "None" not in card


# From the hub.


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub's, and no way to the hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # as HF_HUB_OFFLINE=1 does
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub" / "models--someone--tiny"


def test_a_model_from_the_cache(offline: Path) -> None:
    first, later = Model(TINY), Model(Recipe(**{**vars(TINY), "seed": 1}))
    (offline / "refs").mkdir(parents=True)
    for ref, commit, model in (("main", COMMIT, later), ("v1", COMMIT[::-1], first)):
        model.save(offline / "snapshots" / commit)
        (offline / "refs" / ref).write_text(commit)
    for revision, model in ((None, later), ("v1", first), (COMMIT[::-1], first)):
        loaded = from_pretrained(REPOSITORY, revision).state_dict()
        assert all(torch.equal(loaded[name], value) for name, value in model.state_dict().items())
    with pytest.raises(InputError, match=r"^someone/tiny: .*snapshot"):
        from_pretrained(REPOSITORY, "v2")
    (offline / "snapshots" / COMMIT / WEIGHTS).unlink()
    with pytest.raises(InputError, match=f"holds no {WEIGHTS}"):
        intarsia.from_pretrained(REPOSITORY)


def test_what_is_not_there_is_one_line(offline: Path) -> None:
    for repository in (REPOSITORY, "no such/name"):
        with pytest.raises(InputError, match=f"^{repository}: ") as caught:
            from_pretrained(repository)
        assert "\n" not in str(caught.value)


# To the hub.


class Hub(HTTPServer):
    """What `push_to_hub` needs of the hub: remembers what arrives, and refuses whoever has another token."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Calls)
        self.created: list[dict[str, Any]] = []
        self.cards: list[str] = []
        self.commits: list[dict[str, bytes | str]] = []
        self.stored: dict[str, bytes] = {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Calls(BaseHTTPRequestHandler):
    server: Hub
    timeout = 10  # seconds without a byte

    def log_message(self, *_: Any) -> None:
        pass

    def do_PUT(self) -> None:
        self.server.stored[self.path.removeprefix("/store/")] = self._body()
        self._answer({})

    def do_GET(self) -> None:
        self._answer({"error": "Repository not found"}, 404)

    def do_POST(self) -> None:
        body, path = self._body(), self.path.partition("?")[0]
        if self.headers["Authorization"] != "Bearer hf_test":
            self._answer({"error": "Invalid token"}, 401)
        elif path == "/api/repos/create":
            self.server.created.append(json.loads(body))
            self._answer({"url": f"{self.server.address}/{REPOSITORY}"})
        elif path == "/api/validate-yaml":
            self.server.cards.append(json.loads(body)["content"])
            self._answer({"errors": [], "warnings": []})
        elif path == f"/api/models/{REPOSITORY}/preupload/main":
            named = [each["path"] for each in json.loads(body)["files"]]
            modes = {name: "lfs" if name == WEIGHTS else "regular" for name in named}
            self._answer({"files": [{"path": n, "uploadMode": mode, "shouldIgnore": False} for n, mode in modes.items()]})
        elif path == f"/{REPOSITORY}.git/info/lfs/objects/batch":
            places = {each["oid"]: each for each in json.loads(body)["objects"]}
            actions = {oid: {"upload": {"href": f"{self.server.address}/store/{oid}"}} for oid in places}
            self._answer({"objects": [each | {"actions": actions[oid]} for oid, each in places.items()]})
        elif path == f"/api/models/{REPOSITORY}/commit/main":
            self.server.commits.append(self._committed(body))
            self._answer({"commitUrl": f"{self.server.address}/{REPOSITORY}/commit/{COMMIT}", "commitOid": COMMIT})
        else:
            self._answer({"error": f"not played: {path}"}, 404)

    def _committed(self, body: bytes) -> dict[str, bytes | str]:
        """Each file's content, or the hash of what is stored."""
        lines = [json.loads(line) for line in body.splitlines()]
        files = {line["value"]["path"]: line["value"] for line in lines if line["key"] in ("file", "lfsFile")}
        return {name: base64.b64decode(each["content"]) if "content" in each else each["oid"] for name, each in files.items()}

    def _body(self) -> bytes:
        length = int(self.headers.get("Content-Length") or 0)
        assert length < 2_000_000
        return self.rfile.read(length)

    def _answer(self, content: dict[str, Any], status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.address)  # as HF_ENDPOINT does
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)  # else weights go another way
        monkeypatch.setenv("HF_TOKEN", "hf_test")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield server
        server.shutdown()
        thread.join(10)


@pytest.mark.parametrize("private", [False, True])
def test_what_arrives_at_the_hub(private: bool, evaluated: Path, hub: Hub) -> None:
    address = push_to_hub(evaluated, REPOSITORY, private)
    assert address == f"{hub.address}/{REPOSITORY}/commit/{COMMIT}"
    (created,) = hub.created
    assert (created["organization"], created["name"]) == ("someone", "tiny")
    assert private == (created.get("visibility") == "private" or bool(created.get("private")))  # in new words, and old ones
    (commit,) = hub.commits
    assert commit.keys() == {RECIPE, WEIGHTS, NOVELTY, SCORES, TRAINING, PICTURE, "README.md"}
    for name in (RECIPE, NOVELTY, SCORES, TRAINING, PICTURE):
        assert commit[name] == (evaluated / name).read_bytes()
    assert commit[WEIGHTS] == weights_sha256(evaluated)
    assert hub.stored == {weights_sha256(evaluated): (evaluated / WEIGHTS).read_bytes()}
    assert hashlib.sha256(hub.stored[weights_sha256(evaluated)]).hexdigest() in str(commit["README.md"])
    scores = Scores.load(evaluated)
    assert [commit["README.md"]] == [card.encode() for card in hub.cards]
    assert commit["README.md"] == model_card(REPOSITORY, TINY, scores, TRAINED, "mit", pictured=True).encode()


def test_refused_by_the_hub(evaluated: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    with pytest.raises(InputError, match=r"^someone/tiny: .*401") as caught:
        intarsia.push_to_hub(evaluated, REPOSITORY)
    assert "\n" not in str(caught.value) and not hub.commits and not hub.stored


def test_what_is_not_pushed(evaluated: Path, tmp_path: Path, hub: Hub) -> None:
    Model(TINY).save(tmp_path)
    with pytest.raises(InputError, match=r"has not been evaluated: it holds no scores\.json"):
        push_to_hub(tmp_path, REPOSITORY)
    scores = json.loads((evaluated / SCORES).read_text())
    (tmp_path / SCORES).write_text(json.dumps(scores))
    with pytest.raises(InputError, match="is of other weights"):
        push_to_hub(tmp_path, REPOSITORY)
    (tmp_path / SCORES).write_text(json.dumps(scores | {"source": "photos", "weights_sha256": weights_sha256(tmp_path)}))
    with pytest.raises(InputError, match="come from photos, so the licence of the weights is yours to say"):
        push_to_hub(tmp_path, REPOSITORY)
    assert not hub.created
    push_to_hub(tmp_path, REPOSITORY, licence="gpl-2.0")
    assert metadata_of(hub.cards[0])["license"] == "gpl-2.0"
    assert hub.commits[0].keys() == {RECIPE, WEIGHTS, SCORES, "README.md"}


def test_the_extra_is_named_where_it_is_missing(evaluated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for call in (lambda: from_pretrained(REPOSITORY), lambda: push_to_hub(evaluated, REPOSITORY)):
        with pytest.raises(
            InputError, match=r"^The hub needs a package that is not installed: pip install 'intarsia\[hub\]'\.$"
        ):
            call()
