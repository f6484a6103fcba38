"""A relay in memory for tests: docs/protocol/devices.md as far as a device needs it, with hooks for a malicious one."""

import base64
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from letterlock.assurance.device_list import parse_signed
from letterlock.client.groups import chain_next, chain_start
from letterlock.model.ids import AccountId, DeviceId, GroupRef, MessageId, TenantId
from letterlock.wire.mls import parse, parse_public_commit
from letterlock.wire.preimage import KeyFamily, PublicKey, Purpose, Scope, Signature, context_hash, verify

TENANT = TenantId(bytes([7]) * 16)
ENVIRONMENT = "test"
AUDIENCE = "relay.test"
ZERO = bytes(32)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def raw(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


class RefusalError(Exception):
    def __init__(self, status: int, code: str, **more: Any) -> None:
        super().__init__(code)
        self.status = status
        self.body = {"type": "about:blank", "title": code, "status": status, "code": code, **more}


@dataclass
class Box:
    items: list[dict[str, Any]] = field(default_factory=list)
    head: int = 0
    acknowledged: int = 0

    def put(self, kind: str, group: str, body: bytes) -> None:
        self.head += 1
        self.items.append(
            {
                "sequence": self.head,
                "kind": kind,
                "group": group,
                "message_id": str(MessageId(os.urandom(16))),
                "accepted_ms": 1,
                "body": b64(body),
            }
        )


@dataclass
class Group:
    group_id: bytes
    epoch: int
    chain: bytes
    members: list[str]
    log: list[dict[str, Any]] = field(default_factory=list)


class FakeRelay:
    """One tenant. ``tamper`` may change any answer before it leaves; ``down`` loses calls or their answers."""

    def __init__(self) -> None:
        self.accounts: dict[str, bytes] = {}
        self.lists: dict[str, list[bytes]] = {}
        self.owner: dict[str, str] = {}
        self.nonces: set[bytes] = set()
        self.counters: dict[str, int] = {}
        self.tokens: dict[str, str] = {}
        self.packages: dict[str, list[bytes]] = {}
        self.groups: dict[str, Group] = {}
        self.boxes: dict[str, Box] = {}
        self.idempotent: dict[tuple[str, bytes], tuple[bytes, dict[str, Any]]] = {}
        self.sent: dict[bytes, bytes] = {}
        self.handshake_reports: list[tuple[str, str]] = []
        self.reports: list[tuple[str, dict[str, Any]]] = []
        self.full = False
        self.calls: list[str] = []
        self.logins = 0
        self.tamper: Callable[[str, dict[str, Any]], None] = lambda call, answer: None
        self.before: Callable[[str], None] = lambda call: None
        self.lose_answer: set[str] = set()

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(self._handle), base_url="http://relay.test")

    def _handle(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/v1/")
        call = f"{request.method} {path}"
        self.calls.append(call)
        self.before(call)
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        body = json.loads(request.content) if request.content else {}
        try:
            answer = self._route(request.method, path.split("/"), body, dict(request.url.params), bearer)
        except RefusalError as refusal:
            return httpx.Response(refusal.status, json=refusal.body)
        self.tamper(call, answer)
        for part in list(self.lose_answer):
            if part in call:
                self.lose_answer.discard(part)
                raise httpx.ReadError("lost")
        return httpx.Response(200, json=answer)

    def _route(
        self, method: str, path: list[str], body: dict[str, Any], query: dict[str, str], bearer: str
    ) -> dict[str, Any]:
        if path == ["accounts"]:
            account = str(AccountId(os.urandom(16)))
            self.accounts[account] = raw(body["identity_key"])
            self.lists[account] = []
            return {
                "account_id": account,
                "tenant_id": str(TENANT),
                "environment": ENVIRONMENT,
                "audience": AUDIENCE,
            }
        if path[0] == "devices" and path[2] == "session":
            return self._session(path, body)
        device = self.tokens.get(bearer, "")
        if not device and bearer != "tenant-key":
            raise RefusalError(401, "unauthenticated")
        if path[0] == "accounts":
            return self._account(path, body, query, device)
        if path[0] == "devices":
            return self._device(method, path, body, query, device)
        return self._group(method, path, body, query, device)

    def _session(self, path: list[str], body: dict[str, Any]) -> dict[str, Any]:
        device = path[1]
        if path[-1] == "nonce":
            nonce = os.urandom(32)
            self.nonces.add(nonce)
            return {"nonce": b64(nonce), "expires_ms": 10**15}
        nonce = raw(body["nonce"])
        if nonce not in self.nonces:
            raise RefusalError(401, "session_refused")
        self.nonces.discard(nonce)
        account = self.owner[device]
        entry = parse_signed(self.lists[account][-1]).content.find(DeviceId.parse(device))
        assert entry is not None
        context = context_hash(AccountId.parse(account).value, DeviceId.parse(device).value)
        verify(
            entry.session_key,
            Purpose.SESSION,
            Scope(TENANT, ENVIRONMENT, AUDIENCE, context),
            nonce + body["state_counter"].to_bytes(8),
            Signature.parse(raw(body["signature"])),
        )
        if body["state_counter"] <= self.counters.get(device, 0):
            raise RefusalError(409, "state_rolled_back", acknowledged_counter=self.counters[device])
        self.counters[device] = body["state_counter"]
        self.logins += 1
        token = os.urandom(8).hex()
        self.tokens[token] = device
        box = self.boxes[device]
        return {
            "token": token,
            "expires_ms": 10**15,
            "mailbox_acknowledged": box.acknowledged,
            "mailbox_head": box.head,
            "mailbox_lost": False,
            "key_packages": len(self.packages[device]),
        }

    def _account(self, path: list[str], body: dict[str, Any], query: dict[str, str], device: str) -> dict[str, Any]:
        account = path[1]
        identity = self.accounts[account]
        if path[2] == "devices":
            data = raw(body["device_list"])
            content = parse_signed(data).content
            assert content.identity_key == PublicKey.parse(identity, KeyFamily.IDENTITY)
            if content.version != len(self.lists[account]) + 1:
                raise RefusalError(409, "device_list_version", current_version=len(self.lists[account]))
            self.lists[account].append(data)
            for entry in content.devices:
                self.owner[str(entry.device)] = account
                self.boxes.setdefault(str(entry.device), Box())
                self.packages.setdefault(str(entry.device), [])
            return {"version": content.version, "list_hash": b64(content.digest()), "leaf_hash": b64(ZERO)}
        if path[2] == "device-list":
            since = int(query["since"])
            versions = [
                {"version": number, "device_list": b64(data), "leaf_hash": b64(ZERO)}
                for number, data in enumerate(self.lists[account], 1)
                if number > since
            ]
            return {
                "account_id": account,
                "identity_key": b64(identity),
                "current_version": len(self.lists[account]),
                "versions": versions[:2],
            }
        data = self.lists[account][-1]
        asked = body.get("devices")
        listed = [str(entry.device) for entry in parse_signed(data).content.devices]
        devices = [name for name in listed if name != device and (asked is None or name in asked)]
        return {
            "account_id": account,
            "identity_key": b64(identity),
            "device_list": b64(data),
            "version": len(self.lists[account]),
            "leaf_hash": b64(ZERO),
            "packages": [
                {"device_id": name, "key_package": b64(self.packages[name].pop(0)), "last_resort": False}
                for name in devices
                if self.packages[name]
            ],
            "exhausted": [name for name in devices if not self.packages[name]] if not devices else [],
        }

    def _device(
        self, method: str, path: list[str], body: dict[str, Any], query: dict[str, str], device: str
    ) -> dict[str, Any]:
        if path[1] != device:
            raise RefusalError(403, "not_your_device")
        box = self.boxes[device]
        if path[2] == "key-packages":
            fresh = [raw(entry["key_package"]) for entry in body["packages"]]
            self.packages[device] += fresh
            count = len(fresh)
            return {
                "accepted": count,
                "duplicates": 0,
                "available": len(self.packages[device]),
                "has_last_resort": False,
            }
        if path[-1] == "ack":
            box.acknowledged = max(box.acknowledged, body["through"])
            box.items = [item for item in box.items if item["sequence"] > box.acknowledged]
            self.counters[device] = max(self.counters[device], body["state_counter"])
            return {"acknowledged": box.acknowledged}
        after, limit = int(query["after"]), int(query["limit"])
        return {"items": [item for item in box.items if item["sequence"] > after][:limit], "head": box.head}

    def _group(
        self, method: str, path: list[str], body: dict[str, Any], query: dict[str, str], device: str
    ) -> dict[str, Any]:
        if len(path) == 1:
            ref = str(GroupRef(os.urandom(16)))
            group_id = raw(body["group_id"])
            self.groups[ref] = Group(group_id, body["epoch"], chain_start(group_id, body["epoch"]), [device])
            return {"group": ref, "epoch": body["epoch"], "chain": b64(self.groups[ref].chain)}
        ref, group = path[1], self.groups[path[1]]
        if method == "POST" and path[2:] == ["commits"]:
            known = self.idempotent.get((device, raw(body["idempotency_key"])))
            if known is not None:
                assert known[0] == hashlib.sha256(raw(body["commit"])).digest()
                return known[1]
        if device not in group.members:
            raise RefusalError(403, "not_a_member")
        if len(path) == 2:
            members = [{"account_id": self.owner[name], "device_id": name} for name in group.members]
            return {
                "group": ref,
                "group_id": b64(group.group_id),
                "epoch": group.epoch,
                "chain": b64(group.chain),
                "members": members,
            }
        if path[2] == "commits":
            if method == "GET":
                start = int(query["from_epoch"])
                return {"commits": [entry for entry in group.log if entry["base_epoch"] >= start]}
            return self._commit(ref, group, body, device)
        if path[2] == "handshake-reports":
            self.handshake_reports.append((device, body["reason"]))
            return {"finding": "handshake_tampered"}
        if path[2] == "reports":
            self.reports.append((device, body))
            return {"accounts": len({self.owner[name] for name, _ in self.reports}), "quarantined": False}
        if body["state_counter"] < self.counters[device]:
            raise RefusalError(409, "state_rolled_back", acknowledged_counter=self.counters[device])
        self.counters[device] = body["state_counter"]
        return {"results": [self._message(ref, group, entry, device) for entry in body["messages"]]}

    def _commit(self, ref: str, group: Group, body: dict[str, Any], device: str) -> dict[str, Any]:
        commit = raw(body["commit"])
        key = (device, raw(body["idempotency_key"]))
        print_of = hashlib.sha256(commit).digest()
        info = parse_public_commit(commit)
        assert (info.group_id, info.epoch) == (raw(body["group_id"]), body["base_epoch"])
        if body["base_epoch"] != group.epoch:
            raise RefusalError(409, "wrong_epoch", current_epoch=group.epoch, missing=[])
        for name in group.members:
            if name != device:
                self.boxes[name].put("commit", ref, commit)
        for entry in body["welcomes"]:
            for name in entry["recipients"]:
                self.boxes[name].put("welcome", ref, raw(entry["welcome"]))
        group.chain = chain_next(group.chain, group.epoch, commit)
        hint = [{"account_id": self.owner[name], "device_id": name} for name in body["adds"]]
        gone = [{"account_id": self.owner[name], "device_id": name} for name in body["removes"]]
        group.log.append(
            {"base_epoch": group.epoch, "commit": b64(commit), "adds": hint, "removes": gone, "chain": b64(group.chain)}
        )
        group.epoch += 1
        group.members = [name for name in group.members if name not in body["removes"]] + body["adds"]
        answer = {"epoch": group.epoch, "chain": b64(group.chain), "leaf_hash": b64(ZERO)}
        self.idempotent[key] = (print_of, answer)
        return answer

    def _message(self, ref: str, group: Group, entry: dict[str, Any], device: str) -> dict[str, Any]:
        reference, body = raw(entry["client_message_id"]), raw(entry["body"])
        sealed = parse(body)
        base = {"client_message_id": entry["client_message_id"]}
        if reference not in self.sent and self.full:
            return {**base, "status": "refused", "code": "mailbox_quota"}
        if reference not in self.sent:
            if sealed.epoch < group.epoch - 4:
                return {**base, "status": "refused", "code": "epoch_too_old", "current_epoch": group.epoch}
            self.sent[reference] = body
            for name in group.members:
                if name != device:
                    self.boxes[name].put("application", ref, body)
        return {**base, "status": "accepted", "message_id": str(MessageId(reference)), "accepted_ms": 1, "fanout": 1}
