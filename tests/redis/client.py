"""redis-py against the redis example: client.py PORT PROTOCOL PARSER, silent if all is well."""
import sys
import threading

import redis
from redis.exceptions import ResponseError, WatchError

PORT, PROTOCOL, PARSER = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]

if PARSER == "python":  # by itself it takes hiredis, where that is installed
    from redis._parsers import _RESP2Parser, _RESP3Parser
    parser = _RESP3Parser if PROTOCOL == 3 else _RESP2Parser
else:
    from redis._parsers import _HiredisParser as parser


class Connection(redis.Connection):
    def __init__(self, **options):
        super().__init__(parser_class=parser, **options)


pool = redis.ConnectionPool(connection_class=Connection, host="127.0.0.1", port=PORT,
                            protocol=PROTOCOL, decode_responses=True, client_name="py")
db = redis.Redis(connection_pool=pool)


def refused(error, call, *args):
    try:
        call(*args)
    except ResponseError as e:
        assert error in str(e), e
        return
    raise AssertionError(f"{args} was not refused")


db.flushall()
assert db.ping() and db.set("a", "1", ex=100) and db.get("a") == "1"
assert 99 <= db.ttl("a") <= 100 and db.set("a", "2", nx=True) is None
assert db.set("a", "2", xx=True, get=True, keepttl=True) == "1" and db.ttl("a") > 90
assert db.incr("n") == 1 and db.incrby("n", 5) == 6 and db.incrbyfloat("n", 0.5) == 6.5
assert db.mset({"x": "1", "y": "2"}) and db.mget("x", "y", "z") == ["1", "2", None]
assert db.append("s", "hello") == 5 and db.getrange("s", 1, 3) == "ell"
assert db.set("b", bytes(range(256)).decode("latin-1"))
assert db.get("b") == bytes(range(256)).decode("latin-1")
assert db.rpush("l", "a", "b", "c") == 3 and db.lrange("l", 0, -1) == ["a", "b", "c"]
assert db.lpop("l", 2) == ["a", "b"] and db.lpos("l", "c") == 0
assert db.hset("h", mapping={"f": "v", "g": "w"}) == 2
assert db.hgetall("h") == {"f": "v", "g": "w"} and db.hmget("h", "f", "x") == ["v", None]
assert db.sadd("st", "a", "b") == 2 and set(db.smembers("st")) == {"a", "b"}
assert db.sismember("st", "a") and set(db.sunion("st", "none")) == {"a", "b"}
refused("wrong kind of value", db.incr, "l")
refused("not an integer", db.incr, "s")
assert {key for key in db.scan_iter(match="?", count=3)} >= {"a", "n", "x", "y", "s", "b", "l", "h"}
assert dict(db.hscan_iter("h")) == {"f": "v", "g": "w"} and set(db.sscan_iter("st")) == {"a", "b"}
assert db.type("h") == "hash" and db.exists("a", "none") == 1 and db.dbsize() == 9

with db.pipeline() as pipe:
    pipe.set("t", 1).incr("t").get("t")
    assert pipe.execute() == [True, 2, "2"]
with db.pipeline() as pipe:
    pipe.watch("t")
    db.set("t", 9)
    pipe.multi()
    pipe.set("t", 3)
    try:
        pipe.execute()
        raise AssertionError("a change was not seen")
    except WatchError:
        pass
with db.pipeline(transaction=False) as pipe:
    for i in range(10_000):
        pipe.set(f"p{i}", i)
    assert all(pipe.execute())

info = db.info()
assert info["redis_version"].startswith("7.") and info["role"] == "master", info
assert info["db0"]["keys"] > 10_000
assert db.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
assert db.client_getname() == "py" and any(c["name"] == "py" for c in db.client_list())
assert db.command_count() > 100 and "get" in db.command()
assert db.time()[0] > 1_600_000_000

hears = db.pubsub(ignore_subscribe_messages=True)
hears.subscribe("news")
hears.psubscribe("n*")
assert hears.get_message(timeout=5) is None and hears.get_message(timeout=5) is None
assert db.publish("news", "hello") == 2
heard = [hears.get_message(timeout=5) for _ in range(2)]
assert [m["type"] for m in heard] == ["message", "pmessage"], heard
assert all(m["data"] == "hello" and m["channel"] == "news" for m in heard)
hears.close()


def count():
    for _ in range(500):
        db.incr("count")


threads = [threading.Thread(target=count) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert db.get("count") == "4000"
assert db.flushall() and db.dbsize() == 0
