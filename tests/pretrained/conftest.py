"""Fixtures of the tests of public weights; none of these tests needs a network."""

import socket

import pytest
from peers import CONVIT, DISTILLED, TINY, make_peer, put_in_cache
from sklearn.datasets import load_sample_image

from hybridlib import pretrained
from hybridlib.models import SIZES
from hybridlib.pretrained import PUBLIC


@pytest.fixture(autouse=True)
def sockets(monkeypatch):
    """Every attempt to reach a host fails and is noted; who expects one empties the list."""
    attempts = []

    def refuse(*arguments, **_):
        attempts.append(arguments)
        raise OSError("no network in this test")

    def connect(self, address):
        if self.family == socket.AF_UNIX:  # between the processes that read images
            return connect_as_ever(self, address)
        refuse(address)

    connect_as_ever = socket.socket.connect
    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield attempts
    assert not attempts


@pytest.fixture(scope="session")
def photograph():
    return load_sample_image("china.jpg")  # 427 x 640


@pytest.fixture
def shallow(monkeypatch):
    """Cut our size to two blocks, and give what makes timm's as shallow; widths, heads stay."""

    def cut(name):
        public = PUBLIC[name]
        entry, options = {**SIZES[public.model][public.size], "depth": 2}, dict(depth=2)
        if public.model == "convit":
            entry["local_depth"] = options["local_up_to_layer"] = 1
        monkeypatch.setitem(SIZES[public.model], public.size, entry)
        return options

    return cut


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """Three whole tiny models in a cache, and timm's peers."""
    cache = tmp_path_factory.mktemp("hub")
    peers = {name: make_peer(name) for name in (TINY, DISTILLED, CONVIT)}
    for name, peer in peers.items():
        put_in_cache(cache, name, peer.state_dict())
    return cache, peers


@pytest.fixture(scope="session")
def seen(whole, photograph):
    models = {name: pretrained.load(name, cache=whole[0]) for name in whole[1]}
    return {name: model.see(photograph) for name, model in models.items()}
