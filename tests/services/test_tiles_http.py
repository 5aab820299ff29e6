"""The log over HTTP, as a stranger finds it: every path, header and refusal."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from onward.core.checkpoints import Checkpoint
from onward.core.merkle import leaf_hash
from onward.core.notes import open_note
from onward.core.tiles import parse_entries, tile_paths
from onward.core.tree import Tree
from tests.support.service import Service, open_service

WEB = {"ONWARD__WEB__LISTEN": "127.0.0.1:0"}


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with open_service(tmp_path, WEB) as opened:
        yield opened


@pytest.fixture
async def stranger(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    url = f"http://127.0.0.1:{service.app.web_port}"
    async with httpx.AsyncClient(base_url=url) as client:
        yield client


async def checkpoint(stranger: httpx.AsyncClient, service: Service) -> Checkpoint:
    answer = await stranger.get("/checkpoint")
    vkey = service.app.ledger._signer.vkey
    return Checkpoint.parse(open_note(answer.text, [vkey]).text)


async def test_a_stranger_rebuilds_the_whole_tree_from_what_is_served(
    service: Service, stranger: httpx.AsyncClient
) -> None:
    head = await checkpoint(stranger, service)
    assert head.size > 5
    served = {
        path: (await stranger.get(f"/{path}")).content for path in tile_paths(head.size)
    }
    (hashes, entries) = (
        served[f"tile/0/000.p/{head.size}"],
        parse_entries(served[f"tile/entries/000.p/{head.size}"]),
    )
    leaves = [leaf_hash(entry) for entry in entries]
    assert b"".join(leaves) == hashes
    assert Tree().extend(leaves).root == head.root


async def test_partial_tiles_of_older_sizes_stay(
    service: Service, stranger: httpx.AsyncClient
) -> None:
    size = (await checkpoint(stranger, service)).size
    whole = (await stranger.get(f"/tile/0/000.p/{size}")).content
    bundle = (await stranger.get(f"/tile/entries/000.p/{size}")).content
    for width in range(1, size):
        tile = await stranger.get(f"/tile/0/000.p/{width}")
        assert tile.content == whole[: 32 * width]
        entries = await stranger.get(f"/tile/entries/000.p/{width}")
        assert entries.content == bundle[: 34 * width]


async def test_the_headers_say_what_may_be_kept(stranger: httpx.AsyncClient) -> None:
    note = await stranger.get("/checkpoint")
    assert note.headers["content-type"] == "text/plain; charset=utf-8"
    assert note.headers["cache-control"] == "public, max-age=1"
    tile = await stranger.get("/tile/0/000.p/1")
    assert tile.headers["content-type"] == "application/octet-stream"
    assert "immutable" in tile.headers["cache-control"]
    assert "content-encoding" not in tile.headers
    for answer in (note, tile):
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "set-cookie" not in answer.headers
        assert "server" not in answer.headers
    missing = await stranger.get("/tile/0/001")
    assert missing.headers["cache-control"] == "no-store"


async def test_bundles_are_compressed_where_that_is_asked_for(
    stranger: httpx.AsyncClient,
) -> None:
    for accepted, compressed in (
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("", False),
        ("gzipped", False),
    ):
        async with stranger.stream(
            "GET", "/tile/entries/000.p/3", headers={"Accept-Encoding": accepted}
        ) as answer:
            raw = b"".join([part async for part in answer.aiter_raw()])
        assert ("content-encoding" in answer.headers) == compressed, accepted
        assert answer.headers["vary"] == "Accept-Encoding"
        assert len(gzip.decompress(raw) if compressed else raw) == 3 * 34


NOT_THERE = (
    "/tile/0/000",  # not full yet
    "/tile/0/000.p/255",  # not so wide yet
    "/tile/0/000.p/256",
    "/tile/0/000.p/0",
    "/tile/0/000.p/01",
    "/tile/0/000.p/",
    "/tile/0/000.p/1/",
    "/tile/0/000.p/1000",
    "/tile/0/000.p/-1",
    "/tile/0/0",
    "/tile/0/0000",
    "/tile/0/x000/000.p/1",
    "/tile/0/x000",
    "/tile/00/000.p/1",
    "/tile/-1/000.p/1",
    "/tile/1/000.p/1",  # no full tile of level 0 yet
    "/tile/63/000.p/1",
    "/tile/64/000.p/1",
    "/tile/0/001.p/1",
    "/tile/0/" + "x999/" * 7 + "999",
    "/tile/0/" + "x999/" * 900 + "999",
    "/tile/0/%30%30%30.p/1",
    "/tile/0/000.p%2F1",
    "/tile/0/\u0660\u0660\u0660.p/1",
    "/tile/entries",
    "/tile/entries/000",
    "/tile/entries/001.p/1",
    "/tile/Entries/000.p/1",
    "/tile/x/tile/0/000.p/1",
    "/tile//0/000.p/1",
    "/checkpoint/",
    "/Checkpoint",
    "/",
    "/add-checkpoint",
)


async def test_what_does_not_exist_is_not_found(stranger: httpx.AsyncClient) -> None:
    for path in NOT_THERE:
        answer = await stranger.get(path)
        assert answer.status_code == 404, path
        assert answer.headers["cache-control"] == "no-store"
        assert not answer.history


async def test_every_other_method_is_refused(stranger: httpx.AsyncClient) -> None:
    for path in ("/checkpoint", "/tile/0/000.p/1"):
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            answer = await stranger.request(method, path)
            assert answer.status_code == 405
            assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


async def test_head_tells_what_get_would(stranger: httpx.AsyncClient) -> None:
    for path in ("/checkpoint", "/tile/0/000.p/2", "/tile/entries/000.p/2"):
        told, got = await stranger.head(path), await stranger.get(path)
        assert told.status_code == 200
        assert told.content == b""
        for name in ("content-length", "content-type", "cache-control"):
            assert told.headers[name] == got.headers[name]


async def test_the_url_may_have_a_path(tmp_path: Path) -> None:
    settings = {**WEB, "ONWARD__WEB__URL": "https://national.example/log/"}
    async with open_service(tmp_path, settings) as service:
        url = f"http://127.0.0.1:{service.app.web_port}"
        async with httpx.AsyncClient(base_url=url) as stranger:
            assert (await stranger.get("/log/checkpoint")).status_code == 200
            assert (await stranger.get("/log/tile/0/000.p/1")).status_code == 200
            assert (await stranger.get("/checkpoint")).status_code == 404
            assert (await stranger.get("/log")).status_code == 404


async def test_a_partial_tile_outlives_the_full_one(
    service: Service, stranger: httpx.AsyncClient
) -> None:
    before = await checkpoint(stranger, service)
    old = (await stranger.get(f"/tile/0/000.p/{before.size}")).content
    assert (await stranger.get("/tile/0/000")).status_code == 404
    while service.app.ledger.head().size < 257:
        await service.world.register()
    full = await stranger.get("/tile/0/000")
    assert len(full.content) == 8192
    assert full.content.startswith(old)
    assert (await stranger.get(f"/tile/0/000.p/{before.size}")).content == old
    assert len((await stranger.get("/tile/1/000.p/1")).content) == 32
    assert len((await stranger.get("/tile/entries/000")).content) == 256 * 34
    assert (await stranger.get("/tile/1/000.p/2")).status_code == 404
