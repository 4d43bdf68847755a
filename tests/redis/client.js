// ioredis against the redis example: node client.js FOLDER PORT, silent if all is well.
const assert = require("node:assert");
const Redis = require(process.argv[2] + "/node_modules/ioredis");

const port = Number(process.argv[3]);
const connect = () => new Redis({ port, host: "127.0.0.1", connectionName: "node", retryStrategy: null });

async function main() {
  const db = connect();
  await db.flushall();
  assert.equal(await db.set("a", "1", "EX", 100), "OK");
  assert.equal(await db.get("a"), "1");
  assert.equal(await db.set("a", "2", "NX"), null);
  assert.ok((await db.ttl("a")) > 90);
  assert.deepEqual(await db.mget("a", "none"), ["1", null]);
  assert.equal(await db.hset("h", { f: "v", g: "w" }), 2);
  assert.deepEqual(await db.hgetall("h"), { f: "v", g: "w" });
  assert.equal(await db.rpush("l", "a", "b"), 2);
  assert.deepEqual(await db.lrange("l", 0, -1), ["a", "b"]);
  assert.deepEqual((await db.sadd("s", "x", "y"), (await db.smembers("s")).sort()), ["x", "y"]);
  await assert.rejects(db.incr("l"), /WRONGTYPE/);
  const bytes = Buffer.from([...Array(256).keys()]);
  await db.set("b", bytes);
  assert.ok(bytes.equals(await db.getBuffer("b")));
  assert.deepEqual(await db.multi().set("t", 1).incr("t").exec(), [[null, "OK"], [null, 2]]);
  const pipeline = db.pipeline();
  for (let n = 0; n < 5000; n++) pipeline.set(`p${n}`, n);
  assert.equal((await pipeline.exec()).filter(([error]) => error === null).length, 5000);
  const keys = new Set();
  for await (const page of db.scanStream({ match: "p*", count: 100 })) page.forEach((k) => keys.add(k));
  assert.equal(keys.size, 5000);
  assert.equal(await db.client("GETNAME"), "node");

  const hears = connect();
  const heard = new Promise((resolve) => {
    const all = [];
    const note = (...message) => all.push(message) === 2 && resolve(all);
    hears.on("message", note);
    hears.on("pmessage", note);
  });
  await hears.subscribe("news");
  await hears.psubscribe("n*");
  assert.equal(await db.publish("news", "hello"), 2);
  assert.deepEqual(await heard, [["news", "hello"], ["n*", "news", "hello"]]);
  await hears.quit();
  await db.flushall();
  await db.quit();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
