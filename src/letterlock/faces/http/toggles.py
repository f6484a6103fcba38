"""``/v1/e2ee-first``: the toggle of a tenant and of its conversations. Numbers stand in bodies, never in paths."""

from typing import Annotated, Literal

import msgspec

from letterlock.custody.vault import VaultError
from letterlock.faces.http.problems import Code, Problem
from letterlock.faces.http.routes import Access, Answer, Call, Route
from letterlock.gateway.toggles import ToggleError, ToggleReason, Toggles, ToggleView
from letterlock.model.toggle import Choice
from letterlock.wire.sms.address import PhoneNumber
from letterlock.wire.sms.errors import AddressError

_Number = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class WhichToggle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A conversation, by its number; without one, all of the tenant's."""

    to: _Number | None = None

    def __repr__(self) -> str:
        return "<WhichToggle>"


class FlipToggle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What it is to be.

    Attributes:
        mode: ``e2ee_first``, or ``as_policy``: what policy and records say.
        to: a conversation, by its number; without one, all of the tenant's.
        seen: refuse where it has another version than this.
    """

    mode: Literal["as_policy", "e2ee_first"]
    to: _Number | None = None
    seen: Annotated[int, msgspec.Meta(ge=0, le=2**62)] | None = None

    def __repr__(self) -> str:
        return "<FlipToggle>"


def toggle_routes(toggles: Toggles) -> tuple[Route, ...]:
    """The entries of the route table."""

    async def look(call: Call) -> Answer:
        """POST /v1/e2ee-first/query."""
        body: WhichToggle = call.body
        tenant = call.tenant
        try:
            return Answer(200, await toggles.look(tenant.tenant, tenant.tenant_id, _number(body.to)))
        except VaultError:
            raise Problem(Code.STORE_FAILED, detail="Try again after a moment.") from None

    async def flip(call: Call) -> Answer:
        """PUT /v1/e2ee-first."""
        body: FlipToggle = call.body
        tenant = call.tenant
        try:
            done = await toggles.choose(tenant.tenant, tenant.tenant_id, _number(body.to), Choice(body.mode), body.seen)
        except ToggleError as error:
            raise Problem(error.reason.value, 409, "It was flipped meanwhile. Look again.") from None
        except VaultError:
            raise Problem(Code.STORE_FAILED, detail="Nothing changed. Try again after a moment.") from None
        return Answer(200, done)

    bad = {422: ("bad_number",)}
    return (
        Route("PUT", "/v1/e2ee-first", "setE2eeFirst", "Flip the E2EE-first toggle; in force for the next message.",
              Access.TENANT_ADMIN, flip, FlipToggle, {200: ToggleView},
              {409: (ToggleReason.VERSION_CONFLICT.value,), **bad}),
        Route("POST", "/v1/e2ee-first/query", "getE2eeFirst", "What the E2EE-first toggle says.",
              Access.TENANT_ADMIN, look, WhichToggle, {200: ToggleView}, bad),
    )  # fmt: skip


def _number(text: str | None) -> PhoneNumber | None:
    if text is None:
        return None
    try:
        return PhoneNumber.parse(text)
    except AddressError as error:
        raise Problem(
            "bad_number", 422, "Give an international number with '+'.",
            members={"field": "to", "reason": error.reason.value},
        ) from None  # fmt: skip
