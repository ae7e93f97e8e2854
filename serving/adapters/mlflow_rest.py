"""A client of MLflow's registry over REST: what a service asks of it, without MLflow itself, whose
import is 60 to 110 MiB.

It has the methods of MLflow's own client that `hft_lib.lineage` reads and moves aliases with; to
register a set is MLflow's own work (`mlflow_apart`). A tracking server serves the artifacts of a
version, so the store behind it needs no credentials here.
"""

import base64
import http.client
import json
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

import msgspec

from serving.runtime.addresses import masked

ANSWER_S_MAX = 5.0
MISSING = "RESOURCE_DOES_NOT_EXIST"
_API = "/api/2.0/mlflow/"


class RestError(Exception):
    """What the server refused, with MLflow's own `error_code`."""

    def __init__(self, error_code: str, message: str) -> None:
        super().__init__(message)
        self.error_code = error_code


class Tag(msgspec.Struct, frozen=True):
    """One tag of a version."""

    key: str
    value: str = ""


class Alias(msgspec.Struct, frozen=True):
    """One alias of a model."""

    alias: str
    version: str


class Row(msgspec.Struct, frozen=True):
    """A version as the server tells it."""

    name: str
    version: str
    creation_timestamp: int
    run_id: str = ""
    tag_list: list[Tag] = msgspec.field(default_factory=list, name="tags")

    @property
    def tags(self) -> dict[str, str]:
        """Value by key."""
        return {tag.key: tag.value for tag in self.tag_list}


class Model(msgspec.Struct, frozen=True):
    """A registered model as the server tells it."""

    name: str
    alias_list: list[Alias] = msgspec.field(default_factory=list, name="aliases")

    @property
    def aliases(self) -> dict[str, str]:
        """Version by alias."""
        return {item.alias: item.version for item in self.alias_list}


class Page(list[Row]):
    """Some versions, and the token of the next page; empty where there is none."""

    token: str = ""


class _Model(msgspec.Struct):
    registered_model: Model


class _Version(msgspec.Struct):
    model_version: Row


class _Versions(msgspec.Struct):
    model_versions: list[Row] = []
    next_page_token: str = ""


class RestClient:
    """The registry of the tracking server at `tracking_uri`.

    Every call raises OSError where nobody answers in `ANSWER_S_MAX`, RestError for what the server
    refuses.
    """

    def __init__(self, tracking_uri: str, environ: Mapping[str, str] = os.environ) -> None:
        self.tracking_uri = tracking_uri
        self._parts = urlsplit(tracking_uri)
        self._headers = _authorization(tracking_uri, environ)

    def get_registered_model(self, name: str) -> Model:
        """The model with its aliases."""
        content = self._get(_API + "registered-models/get", name=name)
        return msgspec.json.decode(content, type=_Model).registered_model

    def get_model_version(self, name: str, version: str) -> Row:
        """One version by its number."""
        content = self._get(_API + "model-versions/get", name=name, version=version)
        return msgspec.json.decode(content, type=_Version).model_version

    def get_model_version_by_alias(self, name: str, alias: str) -> Row:
        """One version by its alias."""
        content = self._get(_API + "registered-models/alias", name=name, alias=alias)
        return msgspec.json.decode(content, type=_Version).model_version

    def search_model_versions(
        self, filter_string: str, max_results: int = 200, page_token: str | None = None
    ) -> Page:
        """A page of the versions that match."""
        query: dict[str, str] = {"filter": filter_string, "max_results": str(max_results)}
        query |= {"page_token": page_token} if page_token else {}
        content = self._get(_API + "model-versions/search", **query)
        found = msgspec.json.decode(content, type=_Versions)
        page = Page(found.model_versions)
        page.token = found.next_page_token
        return page

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        """Point an alias at a version."""
        body = {"name": name, "alias": alias, "version": version}
        self._call("POST", _API + "registered-models/alias", json.dumps(body).encode())

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        """Let an alias be no more."""
        body = {"name": name, "alias": alias}
        self._call("DELETE", _API + "registered-models/alias", json.dumps(body).encode())

    def version_content(self, name: str, version: str, path: str) -> bytes | None:
        """A file of a version; None where the artifact store has none."""
        try:
            return self._get("/model-versions/get-artifact", name=name, version=version, path=path)
        except RestError as error:
            if error.error_code == MISSING:
                return None
            raise

    # --- leaves ---

    def _get(self, path: str, /, **query: str) -> bytes:
        return self._call("GET", f"{path}?{urlencode(query, quote_via=quote)}")

    def _call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        parts = self._parts
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        connection = kind(parts.hostname or "", parts.port, timeout=ANSWER_S_MAX)
        headers = self._headers | ({"Content-Type": "application/json"} if body else {})
        try:
            connection.request(method, parts.path.rstrip("/") + path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        except http.client.HTTPException as error:
            why = str(error) or type(error).__name__
            raise OSError(f"{masked(self.tracking_uri)}: {why}") from error
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise _refusal(answer.status, content)
        return content


def _refusal(status: int, content: bytes) -> RestError:
    try:
        told: Any = msgspec.json.decode(content)
        return RestError(str(told["error_code"]), str(told["message"]))
    except (msgspec.MsgspecError, KeyError, TypeError):
        return RestError(f"HTTP_{status}", f"the server answered {status}")


def _authorization(uri: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The header by which MLflow's own client would say who it is."""
    parts = urlsplit(uri)
    user = unquote(parts.username or "") or environ.get("MLFLOW_TRACKING_USERNAME", "")
    password = unquote(parts.password or "") or environ.get("MLFLOW_TRACKING_PASSWORD", "")
    token = environ.get("MLFLOW_TRACKING_TOKEN", "")
    if user:
        known = base64.b64encode(f"{user}:{password}".encode()).decode()
        return {"Authorization": f"Basic {known}"}
    return {"Authorization": f"Bearer {token}"} if token else {}
