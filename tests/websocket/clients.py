"""The clients of `websockets`, which know every rule: one with asyncio, one with threads."""
import asyncio
import os
import sys

import websockets
from websockets.asyncio.client import connect
from websockets.sync.client import connect as connect_sync

addr = sys.argv[1]
echo, chat = f"ws://{addr}/echo", f"ws://{addr}/chat"


def expect(got, wanted):
    if got != wanted:
        sys.exit(f"{got!r:.200} is not {wanted!r:.200}")


async def echoes():
    async with connect(echo, max_size=None) as client:
        for size in [0, 1, 125, 126, 65_535, 65_536, 1_000_000, 16 << 20]:
            data = os.urandom(size)
            await client.send(data)
            expect(await client.recv(), data)
        await client.send("سلام, 😀")
        expect(await client.recv(), "سلام, 😀")
        await client.send(["frag", "", "ments"])
        expect(await client.recv(), "fragments")
        await asyncio.gather(*[await client.ping(str(n)) for n in range(10)])
        many = [os.urandom(n) for n in range(300)]
        reader = asyncio.create_task(take(client, len(many)))
        for data in many:
            await client.send(data)
        expect(await reader, many)
        await client.close(4321, "done")
        expect((client.close_code, client.protocol.close_rcvd.code), (4321, 4321))
    # The refusal comes before all of it was sent.
    client = await connect(echo, max_size=None)
    await client.send(b"x" * ((16 << 20) + 1))
    expect(await end(client), 1009)


async def take(client, count):
    return [await client.recv() for _ in range(count)]


async def end(client):
    try:
        await client.recv()
    except websockets.ConnectionClosed as closed:
        return closed.rcvd.code


async def chats():
    async with connect(chat) as ada, connect(chat, origin=f"http://{addr}") as zahra:
        expect(await take(ada, 3), ["you guest-1", "here\nguest-1", "joined guest-2"])
        expect(await take(zahra, 2), ["you guest-2", "here\nguest-1\nguest-2"])
        await zahra.send("name زهرا")
        expect(await ada.recv(), "renamed guest-2\nزهرا")
        await ada.send("say hello")
        expect((await take(zahra, 3))[2], "said guest-1\nhello")
        await zahra.close()
        expect((await take(ada, 2))[1], "left زهرا")
    for path, origin, status in [(chat, "http://elsewhere", 403), (f"ws://{addr}/", None, 404)]:
        try:
            async with connect(path, origin=origin):
                sys.exit("a handshake that should have failed")
        except websockets.InvalidStatus as refused:
            expect(refused.response.status_code, status)


asyncio.run(echoes())
asyncio.run(chats())
with connect_sync(echo) as client:
    client.send("one")
    expect(client.recv(), "one")
print("websockets agrees")
