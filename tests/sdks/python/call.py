"""The official library, as it is, against the address that it is given: one operation a line in, one answer a line out.

Runs in an environment of its own: nothing of it is a dependency of the product or of its tests.
"""

import inspect
import json
import sys
from datetime import UTC, datetime
from typing import Any

from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.rest import Client

base, account, token = sys.argv[1:4]
client = Client(account, token)
client.api.base_url = base


def plain(message: Any) -> dict[str, Any]:
    return {
        "sid": message.sid,
        "status": message.status,
        "body": message.body,
        "to": message.to,
        "from": message.from_,
        "direction": message.direction,
        "segments": message.num_segments,
        "error_code": message.error_code,
        "created": message.date_created.isoformat(),
        "links": message.subresource_uris,
    }


def run(name: str, argument: Any) -> Any:
    if name == "create":
        return plain(client.messages.create(**argument))
    if name == "fetch":
        return plain(client.messages(argument).fetch())
    if name == "redact":
        return plain(client.messages(argument).update(body=""))
    if name == "cancel":
        return plain(client.messages(argument).update(status="canceled"))
    if name == "delete":
        return client.messages(argument).delete()
    if name == "list":
        days = {key: datetime.fromtimestamp(argument.pop(key), UTC) for key in list(argument) if key.startswith("date")}
        return [plain(message) for message in client.messages.list(**argument, **days)]
    if name == "media":
        return [medium.sid for medium in client.messages(argument).media.list()]
    if name == "parameters":
        # As the library spells them for its users, and as they go over the wire.
        names = inspect.signature(client.messages.create).parameters
        return ["".join(part.title() for part in one.rstrip("_").split("_")) for one in names]
    if name == "account":
        return client.api.accounts(account).fetch().friendly_name
    raise ValueError(name)


for line in sys.stdin:
    operation, given = json.loads(line)
    answer: dict[str, Any]
    try:
        answer = {"ok": run(operation, given)}
    except TwilioRestException as error:
        answer = {
            "error": type(error).__name__, "status": error.status, "code": error.code, "message": error.msg,
            "details": error.details,
        }  # fmt: skip
    except TwilioException as error:
        answer = {"error": type(error).__name__}
    print(json.dumps(answer), flush=True)
