"""The routes of push subscriptions over ASGI."""

from base64 import b64decode
from pathlib import Path

from tests.relay.test_device_routes import b64, serving
from tests.relay.world import enrolled

from letterlock.lab.push import UserAgent
from letterlock.wire.webpush import private_key, public_bytes


async def test_a_device_names_its_own_address_and_takes_it_back(tmp_path: Path) -> None:
    async with serving(tmp_path) as (world, http):
        ann, bob = await enrolled(world, "a1", "b1")
        for phone in (ann, bob):
            await http.log_in(phone)
        status, offer = await http("GET", "/v1/push", ann)
        assert (status, offer["kinds"]) == (200, ["web"])
        assert b64decode(offer["public_key"]) == public_bytes(private_key(bytes(64)))
        assert (await http("GET", "/v1/push"))[0] == 401
        path, agent = f"/v1/devices/{ann.id}/push", UserAgent()
        body = {"endpoint": "https://push.example.net/x", "p256dh": b64(agent.public), "auth": b64(agent.auth)}
        status, told = await http("PUT", path, ann, body)
        assert (status, list(told)) == (200, ["expires_ms"])
        assert (await http("PUT", path, ann, body))[0] == 200, "the same again prolongs it"
        assert (await http("PUT", path, None, body))[0] == 401
        assert (await http("PUT", path, bob, body))[1]["code"] == "not_your_device"
        status, problem = await http("PUT", path.replace(str(ann.id), str(bob.id)), bob, body)
        assert (status, problem["code"]) == (409, "push_endpoint_taken")
        for change, status, code in (
            ({"endpoint": "https://10.0.0.1/x"}, 422, "bad_push_subscription"),
            ({"endpoint": "http://push.example.net/x"}, 422, "bad_push_subscription"),
            ({"p256dh": b64(bytes(65))}, 422, "bad_push_subscription"),
            ({"p256dh": b64(bytes(64))}, 422, "wrong_type"),
            ({"auth": b64(bytes(15))}, 422, "wrong_type"),
            ({"topic": "x"}, 422, "unknown_field"),
        ):
            found, problem = await http("PUT", path, ann, body | change)
            assert (found, problem["code"]) == (status, code)
            assert "example" not in str(problem)
        assert (await http("GET", path, ann))[0] == 405, "nothing gives it back"
        assert (await http("DELETE", path, bob))[0] == 403
        assert (await http("DELETE", path, ann))[0] == 204
        assert (await http("DELETE", path, ann))[0] == 204
        assert (await http("PUT", path.replace(str(ann.id), str(bob.id)), bob, body))[0] == 200


async def test_each_push_service_has_its_own_call_and_is_refused_where_the_settings_do_not_name_it(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as (world, http):
        (ann,) = await enrolled(world, "a1")
        await http.log_in(ann)
        path = f"/v1/devices/{ann.id}/push"
        for kind, token, short in (("apns", b64(bytes(32)), b64(bytes(31))), ("fcm", "x" * 100, "x" * 31)):
            status, problem = await http("PUT", f"{path}/{kind}", ann, {"token": token})
            assert (status, problem["code"]) == (409, "push_not_offered")
            status, problem = await http("PUT", f"{path}/{kind}", ann, {"token": short})
            assert (status, problem["code"]) == (422, "wrong_type")
            assert (await http("PUT", f"{path}/{kind}", ann, {"token": token, "topic": "x"}))[0] == 422
            assert (await http("PUT", f"{path}/{kind}", None, {"token": token}))[0] == 401
        assert await world.count("push_subscription") == 0
