"""What httptools (llhttp, the parser of Node) and h11 make of the same bytes. In: streams, each with
its length before it. Out: for each a line of each parser, the complete requests as hexadecimal
method:target:body, then how it ended: `more`, or `refused` and why."""
import struct
import sys

import h11
import httptools


class Events:
    def __init__(self):
        self.done, self.target, self.body, self.method = [], b"", b"", b""
        self.parser = httptools.HttpRequestParser(self)

    def on_message_begin(self):
        self.target, self.body = b"", b""

    def on_url(self, url):
        self.target += url

    def on_body(self, body):
        self.body += body

    def on_message_complete(self):
        self.done.append((self.parser.get_method(), self.target, self.body))


def by_httptools(stream):
    events = Events()
    end = "more"
    try:
        events.parser.feed_data(stream)
    except httptools.HttpParserUpgrade:
        end = "refused upgrade"
    except httptools.HttpParserError as error:
        end = f"refused {error}"
    return events.done, end


def by_h11(stream):
    conn = h11.Connection(our_role=h11.SERVER)
    conn.receive_data(stream)
    done, body = [], b""
    try:
        while True:
            event = conn.next_event()
            if event is h11.NEED_DATA:
                return done, "more"
            if event is h11.PAUSED:
                if conn.our_state is h11.SEND_RESPONSE or conn.our_state is h11.SEND_BODY:
                    conn.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                    conn.send(h11.EndOfMessage())
                if conn.our_state is not h11.DONE or conn.their_state is not h11.DONE:
                    return done, "more"
                conn.start_next_cycle()
            elif isinstance(event, h11.Request):
                request, body = event, b""
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                done.append((request.method, request.target, bytes(body)))
                conn.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                conn.send(h11.EndOfMessage())
                if conn.our_state is not h11.DONE:
                    return done, "last"
                conn.start_next_cycle()
            else:
                return done, "more"
    except h11.RemoteProtocolError as error:
        return done, f"refused {error}"


def show(name, found):
    done, end = found
    requests = [":".join(part.hex() for part in request) for request in done]
    print(name, ";".join(requests) or "-", end.replace("\n", " "))


data = sys.stdin.buffer.read()
at = 0
while at < len(data):
    size, = struct.unpack_from(">I", data, at)
    stream = data[at + 4:at + 4 + size]
    at += 4 + size
    show("httptools", by_httptools(stream))
    show("h11", by_h11(stream))
