"""Handshakes of TLS that are given up at each byte of what the client says last."""
import itertools
import socket
import ssl

import servers

VERSIONS = [ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2]


def cut_short(server, at_most):
    """Each version, each length, by FIN and by RST, as many as that; returns how many it were."""
    came = 0
    for version, end in itertools.product(VERSIONS, [socket.socket.close, servers.reset]):
        for cut in itertools.count():
            if came == at_most:
                return came
            came += 1
            if give_up(server, version, cut, end) <= cut:
                break
    return came


def give_up(server, version, cut, end):
    """Say the hello, hear the answer, say so much of what follows: how long that would be."""
    context = servers.stranger()
    context.minimum_version = context.maximum_version = version
    heard, said = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(heard, said)
    client = socket.create_connection(server.address(), servers.PATIENCE_S)
    is_greeted = False
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        if said.pending and is_greeted:
            break
        client.sendall(said.read())
        is_greeted = True
        if not (answer := client.recv(16384)):
            raise ConnectionError(f"{server.name} ended a handshake of {version.name}")
        heard.write(answer)
    rest = said.read()
    client.sendall(rest[:cut])
    end(client)
    return len(rest)
