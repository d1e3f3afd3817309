"""Writes objects through an API server's own HTTP interface, real or in-process, so that one suite serves both.

put -> PATCH (server-side apply), delete -> DELETE, both with the kubeconfig's credentials
"""

import json
from pathlib import Path
from typing import Any

import urllib3
from kubernetes.client import Configuration
from kubernetes.client.rest import RESTClientObject
from kubernetes.config import load_kube_config

from tests.kube.store import Object

PREFIXES = {
    "services": "/api/v1",
    "nodes": "/api/v1",
    "pods": "/api/v1",
    "endpointslices": "/apis/discovery.k8s.io/v1",
}


class Cluster:
    """One namespace of one cluster, and the name of one of its Nodes."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self.kubeconfig = kubeconfig
        self.namespace = namespace
        self._configuration = Configuration()
        load_kube_config(str(kubeconfig), client_configuration=self._configuration, persist_config=False)
        self._pool: urllib3.PoolManager = RESTClientObject(self._configuration).pool_manager

    def __enter__(self) -> "Cluster":  # noqa: PYI034 - not meant to be inherited
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}
        self._request("PATCH", f"/api/v1/namespaces/{self.namespace}", body)
        return self

    def __exit__(self, *_: object) -> None:
        self._request("DELETE", f"/api/v1/namespaces/{self.namespace}")
        self._pool.clear()

    @property
    def node_name(self) -> str:
        name: str = self._request("GET", "/api/v1/nodes")["items"][0]["metadata"]["name"]
        return name

    def put(self, collection: str, obj: Object) -> None:
        self._request("PATCH", self._path(collection, obj["metadata"]["name"]), obj)

    def delete(self, collection: str, name: str) -> None:
        self._request("DELETE", self._path(collection, name))

    def _path(self, collection: str, name: str) -> str:
        return f"{PREFIXES[collection]}/namespaces/{self.namespace}/{collection}/{name}"

    def _request(self, method: str, path: str, body: Object | None = None) -> Any:
        credentials = {each["key"]: each["value"] for each in self._configuration.auth_settings().values()}
        query = "?fieldManager=ebpflb-contract&force=true" if method == "PATCH" else ""
        response = self._pool.request(
            method,
            f"{self._configuration.host}{path}{query}",
            headers={"Content-Type": "application/apply-patch+yaml", **credentials},
            body=None if body is None else json.dumps(body),
        )
        assert response.status in {200, 201, 202}, (method, path, response.status, response.data)
        return json.loads(response.data)
