"""Stands in for a REST catalog of Iceberg tables, over pyiceberg's SQL catalog, for pyiceberg and DuckDB."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from threading import Lock
from types import SimpleNamespace
from typing import Any

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError, TableAlreadyExistsError
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import CommitTableRequest


@dataclass
class RestCatalog:
    """Serves the tables of `catalog`. `assigns` returns where a table comes to lie for which a location was asked."""

    catalog: SqlCatalog
    assigns: Callable[[str], str] = lambda location: location
    _lock: Lock = field(default_factory=Lock)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        said = json.loads(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)) or b"{}")
        with self._lock:
            try:
                status, answer = self._answer(environ["REQUEST_METHOD"], environ["PATH_INFO"], said)
            except NoSuchTableError as error:
                status, answer = 404, _failure(404, "NoSuchTableException", error)
            except (CommitFailedException, TableAlreadyExistsError) as error:
                status, answer = 409, _failure(409, "CommitFailedException", error)
        body = b"" if answer is None else json.dumps(answer).encode()
        start_response(f"{status} Said", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    def _answer(self, method: str, path: str, said: Any) -> tuple[int, Any]:
        match method, path.removeprefix("/v1/").split("/"):
            case "GET", ["config"]:
                return 200, {"defaults": {}, "overrides": {}}
            case "GET", ["namespaces"]:
                return 200, {"namespaces": self.catalog.list_namespaces()}
            case "GET" | "HEAD", ["namespaces", namespace]:
                return 200, {"namespace": [namespace], "properties": {}}
            case "GET", ["namespaces", namespace, "tables"]:
                tables = self.catalog.list_tables(namespace)
                return 200, {"identifiers": [{"namespace": [space], "name": name} for space, name in tables]}
            case "POST", ["namespaces"]:
                self.catalog.create_namespace_if_not_exists(tuple(said["namespace"]))
                return 200, {"namespace": said["namespace"], "properties": {}}
            case "POST", ["namespaces", namespace, "tables"]:
                assert said["stage-create"]
                staged = self.catalog._create_staged_table(
                    (namespace, said["name"]),
                    Schema.model_validate(said["schema"]),
                    self.assigns(said["location"]),
                    PartitionSpec.model_validate(said["partition-spec"]),
                    properties=said["properties"],
                )
                return 200, {"metadata": _plain(staged.metadata), "config": {}}
            case "POST", ["namespaces", namespace, "tables", name]:
                asked = CommitTableRequest.model_validate(said)
                handle: Any = SimpleNamespace(name=lambda: (namespace, name))
                done = self.catalog.commit_table(handle, asked.requirements, asked.updates)
                return 200, {"metadata": _plain(done.metadata), "metadata-location": done.metadata_location}
            case "GET", ["namespaces", namespace, "tables", name]:
                table = self.catalog.load_table((namespace, name))
                answer = {"metadata": _plain(table.metadata), "metadata-location": table.metadata_location}
                return 200, {**answer, "config": {}}
            case "DELETE", ["namespaces", namespace, "tables", name]:
                self.catalog.drop_table((namespace, name))
                return 204, None
        raise NotImplementedError(f"{method} {path}")


def _plain(metadata: Any) -> Any:
    return json.loads(metadata.model_dump_json(exclude_none=True))


def _failure(status: int, kind: str, error: Exception) -> Any:
    return {"error": {"code": status, "type": kind, "message": str(error)}}
