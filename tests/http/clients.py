"""h11, which knows every rule, on a socket; and requests, which people use."""
import socket
import sys

import h11
import requests

host, port = sys.argv[1].split(":")
url = f"http://{host}:{port}"


def by_h11(method, target, pieces=(), chunked=False):
    """One answer on a connection of its own: status, body, and whether another may follow."""
    conn = h11.Connection(our_role=h11.CLIENT)
    headers = [("Host", host)]
    if chunked:
        headers.append(("Transfer-Encoding", "chunked"))
    elif pieces:
        headers.append(("Content-Length", str(sum(map(len, pieces)))))
    with socket.create_connection((host, int(port))) as sock:
        sock.sendall(conn.send(h11.Request(method=method, target=target, headers=headers)))
        for piece in pieces:
            sock.sendall(conn.send(h11.Data(data=piece)))
        sock.sendall(conn.send(h11.EndOfMessage()) or b"")
        status, body = None, b""
        while True:
            event = conn.next_event()
            if event is h11.NEED_DATA:
                conn.receive_data(sock.recv(65536))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                conn.start_next_cycle()
                return status, body
            else:
                sys.exit(f"h11 meets {event!r}")


def expect(got, wanted):
    if got != wanted:
        sys.exit(f"{got!r:.200} is not {wanted!r:.200}")


numbers = "".join(f"{n}\n" for n in range(1, 20_001)).encode()
expect(by_h11("GET", "/digits.txt"), (200, b"0123456789"))
expect(by_h11("HEAD", "/digits.txt"), (200, b""))
expect(by_h11("OPTIONS", "*"), (204, b""))
expect(by_h11("GET", "/numbers/20000"), (200, numbers))
expect(by_h11("HEAD", "/numbers/20000"), (200, b""))
expect(by_h11("POST", "/echo", [b"a" * 1000, b"b" * 100_000]), (200, b"a" * 1000 + b"b" * 100_000))
expect(by_h11("PUT", "/echo", [b"c", b"d" * 70_000], chunked=True), (200, b"c" + b"d" * 70_000))
expect(by_h11("POST", "/", [b"not wanted"])[0], 405)
expect(by_h11("GET", "/nothing")[0], 404)

with requests.Session() as session:
    for _ in range(50):
        expect(session.get(url + "/digits.txt").text, "0123456789")
    big = bytes(range(256)) * 16_384
    expect(session.post(url + "/echo", data=big).content, big)
    pieces = (big[at:at + 50_000] for at in range(0, len(big), 50_000))
    expect(session.post(url + "/echo", data=pieces).content, big)
    expect(session.get(url + "/numbers/20000").content, numbers)
    expect(session.get(url + "/digits.txt", headers={"Range": "bytes=-3"}).text, "789")
    expect(session.delete(url + "/").status_code, 405)
    expect(session.get(url + "/sub%20dir").url, url + "/sub%20dir/")
print("h11 and requests agree")
