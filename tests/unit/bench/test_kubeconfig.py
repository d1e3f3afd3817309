"""A kubeconfig behind a proxy: who is asked stays, the way and relative paths change."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from ebpflb.bench.kubeconfig import proxied
from ebpflb.errors import UsageError

PROXY = "http://127.0.0.1:3128"
FOLDER = Path("/home/me/.kube")


def config(cluster: dict[str, Any], user: dict[str, Any]) -> str:
    document = {"clusters": [{"name": "one", "cluster": cluster}], "users": [{"name": "me", "user": user}]}
    return str(yaml.safe_dump(document))


def parts(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    document = yaml.safe_load(proxied(text, FOLDER, PROXY))
    return document["clusters"][0]["cluster"], document["users"][0]["user"]


def test_only_the_way_to_the_server_is_new() -> None:
    cluster, user = parts(config({"server": "https://one:6443", "tls-server-name": "one"}, {"token": "secret"}))
    assert cluster == {"server": "https://one:6443", "tls-server-name": "one", "proxy-url": PROXY}
    assert user == {"token": "secret"}


def test_paths_hold_from_elsewhere() -> None:
    plugin = {"command": "../bin/login", "args": ["../x"]}
    text = config({"certificate-authority": "ca.pem"}, {"client-key": "/keys/me.pem", "exec": plugin})
    cluster, user = parts(text)
    assert cluster["certificate-authority"] == str(FOLDER / "ca.pem")
    assert user == {
        "client-key": "/keys/me.pem",
        "exec": {"command": str(FOLDER / "../bin/login"), "args": ["../x"]},
    }


def test_a_command_on_the_path_stays() -> None:
    assert parts(config({}, {"exec": {"command": "aws"}}))[1] == {"exec": {"command": "aws"}}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [", "is not YAML"),
        ("just words", "is not a kubeconfig"),
        (config({"server": "https://one", "proxy-url": "http://gate:3128"}, {}), "by the proxy http://gate:3128"),
    ],
)
def test_what_cannot_be_used_is_refused_in_words(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        proxied(text, FOLDER, PROXY)


def test_entries_that_are_none_are_left_alone() -> None:
    assert yaml.safe_load(proxied("clusters: [x, {name: y}]\nusers: null", FOLDER, PROXY)) == {
        "clusters": ["x", {"name": "y"}],
        "users": None,
    }
