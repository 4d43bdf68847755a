//! The table of all commands: what each takes and is, for whoever runs it and for COMMAND.
use super::super::reply::Result;
use super::{
    Call, connection as c, generic as g, hashes as h, lists as l, messages as m, server as v,
    sets as s, strings as t, transactions as x,
};

/// What a command does, given that its arguments are as many as they should be.
pub type Run = fn(&mut Call) -> Result;

/// Where its keys are among the arguments: the first, the last (from the end, if negative), and
/// how far they are apart. All 0: it has none.
pub type Keys = (i32, i32, i32);

#[derive(Debug)]
pub struct Command {
    pub name: &'static str,
    /// The number of arguments, with the name; negative: at least so many.
    pub arity: i32,
    pub flags: u16,
    pub keys: Keys,
    pub run: Run,
    pub subcommands: &'static [Command],
}

pub const WRITE: u16 = 1 << 0;
pub const READONLY: u16 = 1 << 1;
/// Not while more memory is in use than may be.
pub const DENY_OOM: u16 = 1 << 2;
pub const FAST: u16 = 1 << 3;
pub const ADMIN: u16 = 1 << 4;
/// May be said by who is subscribed, in RESP2.
pub const PUBSUB: u16 = 1 << 5;
/// Not queued between MULTI and EXEC.
pub const NO_MULTI: u16 = 1 << 6;
/// The next word says which command it is.
pub const CONTAINER: u16 = 1 << 7;
/// Where its keys are depends on what is said.
pub const MOVABLE: u16 = 1 << 8;

pub const FLAG_NAMES: &[(u16, &str)] = &[
    (WRITE, "write"),
    (READONLY, "readonly"),
    (DENY_OOM, "denyoom"),
    (ADMIN, "admin"),
    (FAST, "fast"),
    (PUBSUB, "pubsub"),
    (NO_MULTI, "skip_slowlog"),
    (MOVABLE, "movablekeys"),
];

impl Command {
    pub fn is(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    pub fn takes(&self, args: usize) -> bool {
        let args = i32::try_from(args).unwrap_or(i32::MAX);
        if self.arity >= 0 { args == self.arity } else { args >= -self.arity }
    }
}

const NONE: Keys = (0, 0, 0);
const KEY: Keys = (1, 1, 1);
const TWO: Keys = (1, 2, 1);
const ALL: Keys = (1, -1, 1);
const PAIRS: Keys = (1, -1, 2);

const fn row(name: &'static str, arity: i32, flags: u16, keys: Keys, run: Run) -> Command {
    Command { name, arity, flags, keys, run, subcommands: &[] }
}

const fn container(name: &'static str, subcommands: &'static [Command]) -> Command {
    Command { name, arity: -2, flags: CONTAINER, keys: NONE, run: c::ping, subcommands }
}

const R: u16 = READONLY;
const RF: u16 = READONLY | FAST;
const W: u16 = WRITE;
const WF: u16 = WRITE | FAST;
const WM: u16 = WRITE | DENY_OOM;
const WMF: u16 = WRITE | DENY_OOM | FAST;

pub const GROUPS: &[(&str, &[Command])] = &[
    ("string", STRINGS),
    ("generic", GENERIC),
    ("list", LISTS),
    ("hash", HASHES),
    ("set", SETS),
    ("connection", CONNECTION),
    ("server", SERVER),
    ("pubsub", MESSAGES),
    ("transactions", TRANSACTIONS),
];

const STRINGS: &[Command] = &[
    row("append", 3, WMF, KEY, t::append),
    row("decr", 2, WMF, KEY, t::decr),
    row("decrby", 3, WMF, KEY, t::decrby),
    row("get", 2, RF, KEY, t::get),
    row("getdel", 2, WF, KEY, t::getdel),
    row("getex", -2, WF, KEY, t::getex),
    row("getrange", 4, R, KEY, t::getrange),
    row("getset", 3, WMF, KEY, t::getset),
    row("incr", 2, WMF, KEY, t::incr),
    row("incrby", 3, WMF, KEY, t::incrby),
    row("incrbyfloat", 3, WMF, KEY, t::incrbyfloat),
    row("mget", -2, RF, ALL, t::mget),
    row("mset", -3, WM, PAIRS, t::mset),
    row("msetnx", -3, WM, PAIRS, t::msetnx),
    row("psetex", 4, WM, KEY, t::psetex),
    row("set", -3, WM, KEY, t::set),
    row("setex", 4, WM, KEY, t::setex),
    row("setnx", 3, WMF, KEY, t::setnx),
    row("setrange", 4, WM, KEY, t::setrange),
    row("strlen", 2, RF, KEY, t::strlen),
    row("substr", 4, R, KEY, t::getrange),
];

const GENERIC: &[Command] = &[
    row("copy", -3, WM, TWO, g::copy),
    row("del", -2, W, ALL, g::del),
    row("exists", -2, RF, ALL, g::exists),
    row("expire", -3, WF, KEY, g::expire),
    row("expireat", -3, WF, KEY, g::expireat),
    row("expiretime", 2, RF, KEY, g::expiretime),
    row("keys", 2, R, NONE, g::keys),
    row("move", 3, WF, KEY, g::move_to),
    container(
        "object",
        &[
            row("object|encoding", 3, R, (2, 2, 1), g::object_encoding),
            row("object|freq", 3, R, (2, 2, 1), g::object_freq),
            row("object|idletime", 3, R, (2, 2, 1), g::object_idletime),
            row("object|refcount", 3, R, (2, 2, 1), g::object_refcount),
        ],
    ),
    row("persist", 2, WF, KEY, g::persist),
    row("pexpire", -3, WF, KEY, g::pexpire),
    row("pexpireat", -3, WF, KEY, g::pexpireat),
    row("pexpiretime", 2, RF, KEY, g::pexpiretime),
    row("pttl", 2, RF, KEY, g::pttl),
    row("randomkey", 1, R, NONE, g::randomkey),
    row("rename", 3, W, TWO, g::rename),
    row("renamenx", 3, WF, TWO, g::renamenx),
    row("scan", -2, R, NONE, g::scan),
    row("touch", -2, RF, ALL, g::exists),
    row("ttl", 2, RF, KEY, g::ttl),
    row("type", 2, RF, KEY, g::type_of),
    row("unlink", -2, WF, ALL, g::del),
];

const LISTS: &[Command] = &[
    row("lindex", 3, R, KEY, l::lindex),
    row("linsert", 5, WM, KEY, l::linsert),
    row("llen", 2, RF, KEY, l::llen),
    row("lmove", 5, WM, TWO, l::lmove),
    row("lpop", -2, WF, KEY, l::lpop),
    row("lpos", -3, R, KEY, l::lpos),
    row("lpush", -3, WMF, KEY, l::lpush),
    row("lpushx", -3, WMF, KEY, l::lpushx),
    row("lrange", 4, R, KEY, l::lrange),
    row("lrem", 4, W, KEY, l::lrem),
    row("lset", 4, WM, KEY, l::lset),
    row("ltrim", 4, W, KEY, l::ltrim),
    row("rpop", -2, WF, KEY, l::rpop),
    row("rpoplpush", 3, WM, TWO, l::rpoplpush),
    row("rpush", -3, WMF, KEY, l::rpush),
    row("rpushx", -3, WMF, KEY, l::rpushx),
];

const HASHES: &[Command] = &[
    row("hdel", -3, WF, KEY, h::hdel),
    row("hexists", 3, RF, KEY, h::hexists),
    row("hget", 3, RF, KEY, h::hget),
    row("hgetall", 2, R, KEY, h::hgetall),
    row("hincrby", 4, WMF, KEY, h::hincrby),
    row("hincrbyfloat", 4, WMF, KEY, h::hincrbyfloat),
    row("hkeys", 2, R, KEY, h::hkeys),
    row("hlen", 2, RF, KEY, h::hlen),
    row("hmget", -3, RF, KEY, h::hmget),
    row("hmset", -4, WMF, KEY, h::hmset),
    row("hrandfield", -2, R, KEY, h::hrandfield),
    row("hscan", -3, R, KEY, h::hscan),
    row("hset", -4, WMF, KEY, h::hset),
    row("hsetnx", 4, WMF, KEY, h::hsetnx),
    row("hstrlen", 3, RF, KEY, h::hstrlen),
    row("hvals", 2, R, KEY, h::hvals),
];

const SETS: &[Command] = &[
    row("sadd", -3, WMF, KEY, s::sadd),
    row("scard", 2, RF, KEY, s::scard),
    row("sdiff", -2, R, ALL, s::sdiff),
    row("sdiffstore", -3, WM, ALL, s::sdiffstore),
    row("sinter", -2, R, ALL, s::sinter),
    row("sintercard", -3, R | MOVABLE, NONE, s::sintercard),
    row("sinterstore", -3, WM, ALL, s::sinterstore),
    row("sismember", 3, RF, KEY, s::sismember),
    row("smembers", 2, R, KEY, s::smembers),
    row("smismember", -3, RF, KEY, s::smismember),
    row("smove", 4, WF, TWO, s::smove),
    row("spop", -2, WF, KEY, s::spop),
    row("srandmember", -2, R, KEY, s::srandmember),
    row("srem", -3, WF, KEY, s::srem),
    row("sscan", -3, R, KEY, s::sscan),
    row("sunion", -2, R, ALL, s::sunion),
    row("sunionstore", -3, WM, ALL, s::sunionstore),
];

const CONNECTION: &[Command] = &[
    row("auth", -2, FAST, NONE, c::auth),
    container(
        "client",
        &[
            row("client|getname", 2, 0, NONE, c::client_getname),
            row("client|id", 2, 0, NONE, c::client_id),
            row("client|info", 2, 0, NONE, c::client_info),
            row("client|kill", -3, ADMIN, NONE, c::client_kill),
            row("client|list", -2, ADMIN, NONE, c::client_list),
            row("client|no-evict", 3, ADMIN, NONE, c::client_no_evict),
            row("client|reply", 3, 0, NONE, c::client_reply),
            row("client|setinfo", 4, 0, NONE, c::client_setinfo),
            row("client|setname", 3, 0, NONE, c::client_setname),
        ],
    ),
    row("echo", 2, FAST, NONE, c::echo),
    row("hello", -1, FAST, NONE, c::hello),
    row("ping", -1, FAST | PUBSUB, NONE, c::ping),
    row("quit", -1, FAST | PUBSUB | NO_MULTI, NONE, c::quit),
    row("reset", 1, FAST | PUBSUB | NO_MULTI, NONE, c::reset),
    row("select", 2, FAST, NONE, c::select),
    // What a browser says that somebody has sent here: it is not listened to.
    row("host:", -1, NO_MULTI, NONE, c::not_http),
    row("post", -1, NO_MULTI, NONE, c::not_http),
];

const SERVER: &[Command] = &[
    Command {
        arity: -1,
        run: v::command,
        ..container(
            "command",
            &[
                row("command|count", 2, 0, NONE, v::command_count),
                row("command|docs", -2, 0, NONE, v::command_docs),
                row("command|getkeys", -4, 0, NONE, v::command_getkeys),
                row("command|info", -2, 0, NONE, v::command_info),
                row("command|list", -2, 0, NONE, v::command_list),
            ],
        )
    },
    container(
        "config",
        &[
            row("config|get", -3, ADMIN, NONE, v::config_get),
            row("config|resetstat", 2, ADMIN, NONE, v::config_resetstat),
            row("config|set", -4, ADMIN, NONE, v::config_set),
        ],
    ),
    row("dbsize", 1, RF, NONE, v::dbsize),
    row("flushall", -1, W, NONE, v::flushall),
    row("flushdb", -1, W, NONE, v::flushdb),
    row("info", -1, 0, NONE, v::info),
    container("memory", &[row("memory|usage", -3, R, (2, 2, 1), v::memory_usage)]),
    row("swapdb", 3, WF, NONE, v::swapdb),
    row("time", 1, FAST, NONE, v::time),
];

const MESSAGES: &[Command] = &[
    row("psubscribe", -2, PUBSUB, NONE, m::psubscribe),
    row("publish", 3, FAST, NONE, m::publish),
    container(
        "pubsub",
        &[
            row("pubsub|channels", -2, 0, NONE, m::pubsub_channels),
            row("pubsub|numpat", 2, 0, NONE, m::pubsub_numpat),
            row("pubsub|numsub", -2, 0, NONE, m::pubsub_numsub),
        ],
    ),
    row("punsubscribe", -1, PUBSUB, NONE, m::punsubscribe),
    row("subscribe", -2, PUBSUB, NONE, m::subscribe),
    row("unsubscribe", -1, PUBSUB, NONE, m::unsubscribe),
];

const TRANSACTIONS: &[Command] = &[
    row("discard", 1, FAST | NO_MULTI, NONE, x::discard),
    row("exec", 1, NO_MULTI, NONE, x::exec),
    row("multi", 1, FAST | NO_MULTI, NONE, x::multi),
    row("unwatch", 1, FAST, NONE, x::unwatch_all),
    row("watch", -2, FAST | NO_MULTI, ALL, x::watch),
];
