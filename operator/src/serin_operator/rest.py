"""The Kubernetes API as the operator uses it: plain manifests in and out, errors by whose turn it is.

Transport, credentials and token renewal are the `kubernetes` library's; its typed models are left out, since building
them for every look costs memory and refuses what it does not know. It repeats nothing unless it is told to, which it is
not: a single call is repeated here, within bounds (`patience`), and a write only while we may still write.

Every write may be repeated, since none of them does more when it is done twice: an apply states a wish, a create has a
fixed name, a delete and a replacement name the very object or version that was seen. When a first try went through
unnoticed, the second one meets a conflict at worst, and the object is looked at again.

Not here: what to read or write (`observe`, `act`).
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, cast

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, ApiException, Configuration

from serin_operator import telemetry
from serin_operator.api.kinds import Kind
from serin_operator.clock import ServerClock
from serin_operator.errors import ClusterUnavailable, Conflict, NotLeading, Refused
from serin_operator.patience import Budget, Patience

Json = dict[str, Any]
Objects = list[Json]
Query = list[tuple[str, str]]
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
CHUNK = 500
_MAY_HEAL = frozenset({429, 500, 502, 503, 504})
_BEFORE_ALL = frozenset({429, 503})  # said before anything is done


async def connect() -> ApiClient:
    """A client from the service account in a pod, or from the current kubeconfig context outside."""
    settings = Configuration()
    load = cast("Any", config)
    try:
        load.load_incluster_config(client_configuration=settings)
    except config.ConfigException:
        await load.load_kube_config(client_configuration=settings)
    return ApiClient(settings)


class Cluster:
    """GET, LIST, apply, create and delete of plain manifests. `may_write` is asked before every try of every write, `made`
    is told of every object as it was written."""

    def __init__(
        self,
        client: ApiClient,
        clock: ServerClock | None = None,
        *,
        may_write: Callable[[], bool] = lambda: True,
        made: Callable[[Kind, Json], None] = lambda kind, answer: None,
        patience: Patience | None = None,
    ) -> None:
        self._client = cast("Any", client)  # the library's transport is not fully typed
        self._clock = clock or ServerClock()  # learns the time from every answer
        self._may_write = may_write
        self._made = made
        self._patience = patience or Patience()
        self._budget = Budget()

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Json | None:
        """The object, or None when there is none."""
        try:
            return await self._call("GET", kind.path(namespace, name))
        except _NotFound:
            return None

    async def list(self, kind: Kind, namespace: str | None, selector: str = "") -> Objects:
        """All objects of a kind in a namespace (or everywhere), by label selector; [] when it is not installed."""
        query = [("labelSelector", selector)] if selector else []
        try:
            found = await self._call("GET", kind.path(namespace), query)
        except _NotFound:
            return []
        items = cast("Objects", found.get("items") or [])
        return [{"apiVersion": kind.api_version, "kind": kind.kind, **item} for item in items]

    async def metadata(self, kind: Kind, selector: str) -> AsyncIterator[tuple[Objects, str]]:
        """The metadata of all objects of a kind in all namespaces, in chunks, each with the version of the whole list;
        nothing when the kind is not installed."""
        query = [("limit", str(CHUNK)), *([("labelSelector", selector)] if selector else [])]
        further = ""
        while True:
            try:
                more = [("continue", further)] if further else []
                found = await self._call("GET", kind.path(None), query + more, accept=_METADATA_ONLY)
            except _NotFound:
                return
            items = cast("Objects", found.get("items") or [])
            yield [item["metadata"] for item in items], found["metadata"].get("resourceVersion", "")
            further = found["metadata"].get("continue") or ""
            if not further:
                return

    async def apply(
        self, kind: Kind, manifest: Mapping[str, Any], manager: str, subresource: str | None = None
    ) -> Json:
        """Server-side apply (https://kubernetes.io/docs/reference/using-api/server-side-apply/), forced: we only name
        fields that are ours."""
        meta = manifest["metadata"]
        query = [("fieldManager", manager), ("force", "true")]
        path = kind.path(meta.get("namespace"), meta["name"], subresource)
        answer = await self._call("PATCH", path, query, dict(manifest), _APPLY)
        self._made(kind, answer)
        return answer

    async def amend(
        self, kind: Kind, namespace: str, name: str, patch: Mapping[str, Any], version: str, manager: str
    ) -> None:
        """A merge patch of somebody else's object; Conflict when it is gone, or no longer at this resourceVersion."""
        body = {**patch, "metadata": {"resourceVersion": version}}
        try:
            answer = await self._call("PATCH", kind.path(namespace, name), [("fieldManager", manager)], body, _MERGE)
        except _NotFound as error:
            raise Conflict(str(error)) from error
        self._made(kind, answer)

    async def create(self, kind: Kind, manifest: Mapping[str, Any], *, blindly: bool = True) -> bool:
        """True when created now, False when an object of this name was there already.

        Without `blindly` it is not repeated once it may have happened: by then the object may be gone again with its
        owner, and would be made a second time.
        """
        path = kind.path(manifest["metadata"].get("namespace"))
        try:
            answer = await self._call("POST", path, body=dict(manifest), blindly=blindly)
        except _AlreadyExists:
            return False
        self._made(kind, answer)
        return True

    async def replace(self, kind: Kind, manifest: Mapping[str, Any]) -> Json:
        """PUT with the resourceVersion inside; Conflict when it is no longer the newest."""
        meta = manifest["metadata"]
        return await self._call("PUT", kind.path(meta.get("namespace"), meta["name"]), body=dict(manifest))

    async def confirm(self, kind: Kind, namespace: str, name: str, version: str) -> None:
        """Conflict unless the stored object still has this resourceVersion.

        A patch that changes nothing but names a version: the apiserver compares it with what etcd holds, and stores
        nothing (https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions). It goes to /status,
        since more than the status of users' objects is not ours to patch.
        """
        body = {"metadata": {"resourceVersion": version}}
        path = kind.path(namespace, name, "status")
        try:
            await self._call("PATCH", path, body=body, content_type=_MERGE)
        except _NotFound as error:
            raise Conflict(str(error)) from error

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str, version: str) -> None:
        """Delete the very object, at the very version, that was seen; its children after it."""
        body = {"propagationPolicy": "Background", "preconditions": {"uid": uid, "resourceVersion": version}}
        try:
            await self._call("DELETE", kind.path(namespace, name), body=body)
        except _NotFound:
            return

    async def _call(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: Json | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        blindly: bool = True,
    ) -> Json:
        """One call, repeated while its failure may heal and the patience lasts; unless `blindly`, only when it is certain
        that nothing happened."""
        loop = asyncio.get_running_loop()
        began, tried = loop.time(), 0
        headers = {"Accept": accept, "Content-Type": content_type}
        while True:
            tried += 1
            if method != "GET" and not self._may_write():
                raise NotLeading(f"{method} {path}: the lease ran out before this write; somebody else may be leading")
            try:
                answer = await self._try(method, path, query or [], body, headers)
            except ClusterUnavailable as error:
                pause = self._patience.pause(tried, loop.time() - began, error.retry_after, random.random())
                hopeless = not error.soon or (error.perhaps and not blindly)
                if hopeless or pause is None or not self._budget.spend():
                    raise
                telemetry.API_RETRIES.labels(method).inc()
                await asyncio.sleep(pause)
            else:
                self._budget.earn()
                return answer

    async def _try(self, method: str, path: str, query: Query, body: Json | None, headers: dict[str, str]) -> Json:
        where = f"{method} {path}"
        request = await self._client.param_serialize(
            method, path, query_params=query, header_params=dict(headers), body=body, auth_settings=["BearerToken"]
        )
        asked = self._clock.asked()
        try:
            answer = await self._client.call_api(*request, _request_timeout=self._patience.try_seconds)
            raw = await answer.read()
        except ApiException as error:
            failure = cast("Any", error)
            telemetry.API_CALLS.labels(method, str(failure.status)).inc()
            raise _explained(failure.status or 0, str(failure.body or failure.reason), None, where) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            telemetry.API_CALLS.labels(method, "none").inc()
            perhaps = not isinstance(error, aiohttp.ClientConnectorError)
            raise ClusterUnavailable(f"{where}: the apiserver did not answer ({error!r})", perhaps=perhaps) from error
        self._clock.answered(answer.headers.get("Date"), asked)
        telemetry.API_CALLS.labels(method, str(answer.status)).inc()
        text = (raw or b"").decode()
        if not 200 <= answer.status <= 299:
            raise _explained(answer.status, text, answer.headers.get("Retry-After"), where)
        return _document(text, where)


def _document(text: str, where: str) -> Json:
    try:
        return cast("Json", json.loads(text)) if text else {}
    except ValueError as error:
        raise ClusterUnavailable(f"{where}: the answer is not JSON ({error})", perhaps=True) from error


class _NotFound(Refused):
    pass


class _AlreadyExists(Conflict):
    pass


def _explained(status: int, body: str, retry_after: str | None, call: str) -> Exception:
    """The apiserver's Status document as one of our errors."""
    reason, sentence = _status_document(body)
    message = f"{call}: {sentence}"
    if status == 404:
        return _NotFound(message, status, sentence)
    if status == 409:
        return _AlreadyExists(message) if reason == "AlreadyExists" else Conflict(message)
    if status in _MAY_HEAL or status == 0:
        seconds = float(retry_after) if retry_after and retry_after.isdigit() else None
        return ClusterUnavailable(message, retry_after=seconds, perhaps=status not in _BEFORE_ALL)
    if status == 401:
        return ClusterUnavailable(message, soon=False)  # a token on its way to being renewed
    return Refused(message, status, sentence)


def _status_document(body: str) -> tuple[str, str]:
    try:
        found = cast("Json", json.loads(body))
        return str(found.get("reason", "")), str(found.get("message", body))
    except (ValueError, AttributeError):
        return "", body[:500]
