"""Models of the Hugging Face hub, from a cache in the client's own layout and from a server with the hub's answers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from robench.errors import CheckpointError
from robench.models import load_classifier

COMMIT, OTHER = "a" * 40, "b" * 40
NOWHERE = "http://127.0.0.1:9"


def folder(path: Path, seed: int = 0, classes: int = 3) -> Path:
    """Write a small model of timm as the hub has it."""
    path.mkdir(parents=True)
    torch.manual_seed(seed)
    module = timm.create_model("test_vit", num_classes=classes)
    config = {"architecture": "test_vit", "num_classes": classes, "pretrained_cfg": {"input_size": [3, 160, 160]}}
    (path / "config.json").write_text(json.dumps(config))
    save_file(module.state_dict(), path / "model.safetensors")
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "ENDPOINT", NOWHERE)
    return tmp_path / "hub" / "models--acme--tiny"


def refusal(model: str) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_classifier(model, device="cpu")
    return str(caught.value)


def test_models_of_the_cache_need_no_network(cache: Path) -> None:
    local = folder(cache / "snapshots" / COMMIT)
    folder(cache / "snapshots" / OTHER, seed=1)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(COMMIT)
    (cache / "refs" / "v2").write_text(OTHER)
    classifier, expected = load_classifier("hf:acme/tiny", device="cpu"), load_classifier(local, device="cpu")
    assert (classifier.label, classifier.arch, classifier.classes) == ("tiny", "timm:test_vit", 3)
    assert classifier.sha256 == expected.sha256
    assert classifier.origin is not None
    assert classifier.origin["model"] == "hf:acme/tiny"
    second = load_classifier("hf:acme/tiny@v2", device="cpu")
    assert second.label == "tiny@v2"
    assert second.sha256 != expected.sha256
    assert load_classifier("hf:acme/tiny", device="cpu", label="mine").label == "mine"


def test_what_is_neither_cached_nor_reachable(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = time.perf_counter()
    assert refusal("hf:acme/tiny@v2").endswith("network: hf download acme/tiny --revision v2")
    (folder(cache / "snapshots" / COMMIT) / "model.safetensors").unlink()
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(COMMIT)
    assert "not in the local cache, and the Hugging Face hub cannot be reached" in refusal("hf:acme/tiny")
    assert "hf download timm/resnet18.a1_in1k" in refusal("timm:resnet18.a1_in1k")
    assert time.perf_counter() - start < 20
    assert constants.HF_HUB_OFFLINE is False
    assert "give hf:OWNER/NAME" in refusal("hf:../../etc")
    monkeypatch.chdir(tmp_path)
    assert refusal("acme/tiny").endswith("did you mean hf:acme/tiny?")


class Hub(BaseHTTPRequestHandler):
    """Answers as the hub for one model."""

    def __init__(self, files: Path, *arguments: object) -> None:
        self.files = files
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path, name = self.path.partition("?")[0], self.path.rpartition("/")[2].partition("?")[0]
        listed = [
            {"type": "file", "path": one.name, "size": one.stat().st_size, "oid": "0"} for one in self.files.iterdir()
        ]
        if path == "/":
            self.answer(b"")
        elif not path.startswith(("/api/models/acme/tiny/", "/acme/tiny/")):
            self.answer(b"", 404, {"X-Error-Code": "RepoNotFound"})
        elif "/tree/" in path:
            self.answer(json.dumps(listed).encode())
        elif "/revision/" in path:
            siblings = [{"rfilename": one["path"]} for one in listed]
            self.answer(json.dumps({"id": "acme/tiny", "sha": COMMIT, "siblings": siblings}).encode())
        elif (self.files / name).is_file():
            self.answer((self.files / name).read_bytes(), 200, {"ETag": f'"{name}"', "X-Repo-Commit": COMMIT})
        else:
            self.answer(b"", 404, {"X-Error-Code": "EntryNotFound"})

    def answer(self, content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, folder(tmp_path / "files")))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_models_are_downloaded_once(cache: Path, hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", hub)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub + "/{repo_id}/resolve/{revision}/{filename}")
    first = load_classifier("hf:acme/tiny", device="cpu")
    assert "no model acme/huge that you can read" in refusal("hf:acme/huge")
    monkeypatch.setattr(constants, "ENDPOINT", NOWHERE)
    assert load_classifier("hf:acme/tiny", device="cpu").sha256 == first.sha256
