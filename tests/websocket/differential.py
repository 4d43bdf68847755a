"""What the parser of `websockets` makes of the same bytes. In: streams, each with its length before it.
Out: for each a line, what was said, then how it ended: `more`, `close` and its code, or the code with
which it is refused. That parser leaves it to others to put fragments together and to decode them."""
import codecs
import struct
import sys

from websockets.frames import Opcode
from websockets.protocol import Protocol, Side, State

LETTERS = {Opcode.TEXT: "t", Opcode.BINARY: "b", Opcode.PING: "p", Opcode.PONG: "o"}


def read(stream):
    protocol = Protocol(Side.SERVER, state=State.OPEN, max_size=100_000)
    protocol.receive_data(stream)
    done, kind, message = "", None, b""
    for frame in protocol.events_received():
        if frame.opcode is Opcode.CLOSE:
            continue
        if frame.opcode in (Opcode.PING, Opcode.PONG):
            done += f"{LETTERS[frame.opcode]}{bytes(frame.data).hex()};"
            continue
        if frame.opcode is not Opcode.CONT:
            kind, message = LETTERS[frame.opcode], b""
        message += frame.data
        try:
            if kind == "t":
                codecs.getincrementaldecoder("utf-8")().decode(message, final=frame.fin)
        except UnicodeDecodeError:
            return done, "1007"
        if frame.fin:
            done += f"{kind}{message.hex()};"
    if protocol.close_rcvd is not None:
        return done, f"close {protocol.close_rcvd.code}"
    if protocol.close_sent is not None:
        return done, str(int(protocol.close_sent.code))
    return done, "more"


data = sys.stdin.buffer.read()
at = 0
while at < len(data):
    size, = struct.unpack_from(">I", data, at)
    print(*read(data[at + 4:at + 4 + size]))
    at += 4 + size
