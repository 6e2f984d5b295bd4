"""The server: it answers its token on its own host, and only reads."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

from robench.viewer.app import make_app
from robench.viewer.images import SampleImages
from robench.viewer.overview import overview
from robench.viewer.query import Query
from robench.viewer.samples import SampleTable
from tests.builders import each, run_files

TOKEN = "secret-token"


@pytest.fixture(scope="module")
def client(table: SampleTable, picture_folder: Path) -> TestClient:
    app = make_app(table, overview(table), SampleImages(table, picture_folder), Query(), TOKEN)
    return TestClient(app, base_url="http://127.0.0.1:8000", follow_redirects=False)


ADDRESSES = ["/", "/samples", "/samples/3", "/images/cifar-c-snow-1-32px/3/0", "/images/cifar-p-tilt-1-32px/3/30"]


@each("address", ADDRESSES)
def test_addresses_answer_the_token_alone(address: str, client: TestClient) -> None:
    answer = client.get(f"/{TOKEN}{address}")
    assert answer.status_code == 200
    for header, text in (
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
        ("x-frame-options", "DENY"),
    ):
        assert answer.headers[header] == text
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert "access-control-allow-origin" not in answer.headers
    for wrong in (address, f"/wrong{address}", f"/{TOKEN}x{address}", f"/{TOKEN[:-1]}{address}", f"//{TOKEN}{address}"):
        refused = client.get(wrong)
        assert refused.status_code == 404, wrong
        assert "robench" not in refused.text
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8000", ""):
        assert client.get(f"/{TOKEN}{address}", headers={"host": host}).status_code == 400, host
    assert client.get(f"/{TOKEN}{address}", headers={"host": "localhost:8000"}).status_code == 200
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        assert client.request(method, f"/{TOKEN}{address}").status_code == 405, method


@each(
    "address, status",
    [
        ("/images/../manifest.json", 404),
        ("/images/%2e%2e%2fmanifest.json/0/0", 404),
        ("/images/..%2f..%2f..%2fetc%2fpasswd/0/0", 404),
        ("/images/cifar-c-snow-1-32px/30/0", 404),
        ("/images/cifar-c-snow-1-32px/0/1", 404),
        ("/images/cifar-c-snow-1-32px/-1/0", 404),
        ("/images/none/0/0", 404),
        ("/samples/30", 404),
        ("/samples/99999999999999999999", 404),
        ("/samples/x", 404),
        ("/samples?severity=x", 400),
        ("/samples?start=-1", 400),
        ("/samples?condition=../manifest", 400),
        ("/manifest.json", 404),
    ],
)
def test_bad_addresses_are_refused(address: str, status: int, client: TestClient) -> None:
    answer = client.get(f"/{TOKEN}{address}")
    assert answer.status_code == status
    assert "\n" not in answer.text
    assert "Traceback" not in answer.text


def test_the_server_only_reads(table: SampleTable, pair: list[Path], client: TestClient) -> None:
    before = [run_files(path) for path in pair]
    for address in ADDRESSES:
        client.get(f"/{TOKEN}{address}")
    assert [run_files(path) for path in pair] == before


def test_answers(table: SampleTable, client: TestClient) -> None:
    found = client.get(f"/{TOKEN}/samples", params={"runs": "differ", "start": "0"}).json()
    assert found["samples"] == len(found["items"]) <= found["images"]
    assert all(one["differ"] for one in found["items"])
    rest = client.get(f"/{TOKEN}/samples", params={"runs": "differ", "start": "2"}).json()
    assert rest["items"] == found["items"][2:]
    with Image.open(io.BytesIO(client.get(f"/{TOKEN}/images/cifar-c-snow-5-32px/29/0").content)) as image:
        assert image.size == (32, 32)


def test_names_are_text_on_the_page(table: SampleTable, picture_folder: Path) -> None:
    """A name from a file cannot end the element that holds it."""
    content = overview(table)
    content["classes"] = ["</script><script>alert(1)</script>", "&amp;", "<!--"]
    page = (
        TestClient(make_app(table, content, None, Query(), TOKEN), base_url="http://localhost").get(f"/{TOKEN}/").text
    )
    assert "<script>alert" not in page
    assert page.count("<script") == 2
    assert page.count("<!--") == 1
