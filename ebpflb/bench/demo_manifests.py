"""Edits the demo's copy of the example manifests, as `kubectl scale` would change the real objects.

examples/ -> copy -> set_backends(service, addresses) -> the same file, replaced in one step -> the agents' watch
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ebpflb.errors import EbpflbError

SERVICE_LABEL = "kubernetes.io/service-name"


class Manifests:
    """A copy of a manifest folder whose EndpointSlices can be edited."""

    def __init__(self, source: Path, folder: Path) -> None:
        if not source.is_dir():
            raise EbpflbError(f"demo: {source} is not a folder", remedy="run the demo from the repository's root")
        self.folder = folder
        shutil.copytree(source, folder, dirs_exist_ok=True)

    def backends(self, service: str) -> list[str]:
        """Return the addresses behind a Service, given as NAMESPACE/NAME, that take new requests."""
        _, documents, index = self._find(service)
        endpoints = [each for each in documents[index]["endpoints"] if each.get("conditions", {}).get("ready", True)]
        return [address for endpoint in endpoints for address in endpoint["addresses"]]

    def set_backends(self, service: str, nodes: Mapping[str, str]) -> None:
        """Let the Service have these backends: address to node name. Whoever leaves terminates, as a pod does."""
        path, documents, index = self._find(service)
        ready = {"ready": True, "serving": True, "terminating": False}
        terminating = {"ready": False, "serving": True, "terminating": True}
        leaving = [each for each in documents[index]["endpoints"] if not set(each["addresses"]) & nodes.keys()]
        documents[index]["endpoints"] = [
            *({"addresses": [each], "conditions": dict(ready), "nodeName": node} for each, node in nodes.items()),
            *({**each, "conditions": dict(terminating)} for each in leaving),
        ]
        # Beside the folder, not in it: the agents must never read a half-written file.
        aside = self.folder.with_name(f"{path.name}.new")
        aside.write_text(yaml.safe_dump_all(documents, sort_keys=False), encoding="utf-8")
        aside.replace(path)

    def _find(self, service: str) -> tuple[Path, list[dict[str, Any]], int]:
        namespace, name = service.split("/")
        for path in sorted(self.folder.rglob("*.y*ml")):
            documents = [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one]
            for index, document in enumerate(documents):
                metadata = document.get("metadata", {})
                owner = metadata.get("labels", {}).get(SERVICE_LABEL)
                if (document.get("kind"), metadata.get("namespace"), owner) == ("EndpointSlice", namespace, name):
                    return path, documents, index
        raise EbpflbError(f"demo: the examples hold no EndpointSlice of Service {service}")
