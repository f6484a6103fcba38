"""What a person types: lines to send, and commands."""

from typing import Final, final

from letterlock.client.chat import screen as s
from letterlock.client.chat.asking import WORDS, Asking
from letterlock.client.chat.contact import digit_groups
from letterlock.client.chat.conversations import Conversations
from letterlock.client.chat.shown import Showing
from letterlock.client.chat.wording import HELP
from letterlock.client.device import Device
from letterlock.client.errors import DeviceError, EngineError, PayloadError
from letterlock.client.floors import of_account
from letterlock.client.payload import Text
from letterlock.model.clock import Clock
from letterlock.model.ids import GroupRef
from letterlock.model.protection import EvidenceGrade
from letterlock.wire.preimage import PublicKey

NOBODY: Final = s.Problem("nobody_here", "Nobody is here yet; that was not sent.")


@final
class Prompt:
    """Takes typed lines for one conversation at a time.

    Args:
        device: sends.
        people: whose groups these are.
        showing: knows who has proven something in this run.
        own_key: this account's public identity key.
        clock: wall time.
        asking: answers questions.
    """

    def __init__(
        self,
        device: Device,
        people: Conversations,
        showing: Showing,
        own_key: PublicKey,
        clock: Clock,
        asking: Asking,
    ) -> None:
        self._device: Final = device
        self._people: Final = people
        self._showing: Final = showing
        self._own_key: Final = own_key
        self._clock: Final = clock
        self._asking: Final = asking
        self.current: GroupRef | None = None
        """Where lines go; None while nobody is there."""

    async def take(self, line: str, screen: s.Screen) -> bool:
        """One typed line; False when it says to end. What cannot be sent is said, and nothing of it leaves."""
        words = line.strip()
        if not words:
            return True
        if words.startswith("/") and not words.startswith("//"):
            if words == "/quit":
                return False
            if words.partition(" ")[0] in WORDS:
                screen(await self._asking.answer(words))
            else:
                screen(self._command(words))
        else:
            screen(await self._send(line[1:] if line.startswith("//") else line))
        return True

    async def _send(self, text: str) -> s.Shown:
        ref = self.current
        if ref is None:
            return NOBODY
        try:
            message = await self._device.say(ref, Text(text))
        except (DeviceError, EngineError, PayloadError) as error:
            return s.Problem(str(error.reason), f"Not sent: {error}.")
        decided = self._device.receipts(message).decided
        mark = s.Mark.on_this_device(decided.protection, decided.grade, decided.verifier)
        return s.Sent(str(message), str(ref), self._clock.now_ms(), text, mark)

    def _command(self, words: str) -> s.Shown:
        match words:
            case "/help":
                return s.Help(HELP)
            case "/safety" | "/who" | "/floor" if self.current is None:
                return NOBODY
            case "/safety":
                return self._safety(self._of(self.current))
            case "/who":
                return self._who(self._of(self.current))
            case "/floor":
                return self._floors(self._of(self.current))
            case _:
                return s.Problem("unknown_command", "There is no such command; /help lists them. Nothing was sent.")

    @staticmethod
    def _of(ref: GroupRef | None) -> GroupRef:
        assert ref is not None, "asked above"
        return ref

    def _safety(self, ref: GroupRef) -> s.Shown:
        numbers = [
            s.SafetyNumber(
                peer.account,
                peer.contact,
                list(self._people.safety_number(account, self._own_key)),
                peer.identity,
            )
            for account, peer in zip(self._people.others(ref), self._people.peers(ref), strict=True)
        ]
        group_id = self._device.group(ref).group_id
        try:
            epoch, fingerprint = self._device.engine.epoch(group_id), self._device.engine.fingerprint(group_id)
        except EngineError as error:
            return s.Problem(str(error.reason), f"This group is over here: {error}.")
        return s.Safety(numbers, str(ref), epoch, list(digit_groups(fingerprint)))

    def _who(self, ref: GroupRef) -> s.Shown:
        me = self._device.device
        members = [
            s.Member(
                str(leaf.account or ""),
                str(leaf.device or ""),
                self._people.identity(leaf.account) if leaf.account is not None else s.FIRST_SEEN,
                leaf.listed,
                leaf.device == me,
                EvidenceGrade.ATTESTED if leaf.device in self._showing.attested else EvidenceGrade.NONE,
            )
            for leaf in self._people.members(ref)
        ]
        try:
            epoch = self._device.engine.epoch(self._device.group(ref).group_id)
        except EngineError as error:
            return s.Problem(str(error.reason), f"This group is over here: {error}.")
        return s.Who(str(ref), epoch, members)

    def _floors(self, ref: GroupRef) -> s.Shown:
        floors = [(account, self._device.floors.floor(of_account(account))) for account in self._people.others(ref)]
        return s.Floors(
            [s.FloorOf(str(account), one.protection, one.basis.value, one.version) for account, one in floors]
        )
