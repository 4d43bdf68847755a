//! Publish and subscribe.
use std::sync::Arc;

use charkh::Escaped;
use log::warn;

use super::super::{
    clients::Client,
    glob,
    pubsub::Kind,
    reply::{Reply, Result},
    text::Text,
};
use super::Call;

/// Bytes of a client's name that are shown in the log.
const NAME_SHOWN: usize = 64;

pub fn subscribe(call: &mut Call) -> Result {
    add(call, Kind::Name)
}

pub fn psubscribe(call: &mut Call) -> Result {
    add(call, Kind::Pattern)
}

fn add(call: &mut Call, kind: Kind) -> Result {
    for topic in call.args.from(1) {
        call.has_room(topic.len())?;
        call.session.subscribe(call.state, kind, topic);
        tell(call, kind, true, Some(topic));
    }
    Ok(())
}

/// What it has subscribed to, or no more, and to how many it has.
fn tell(call: &mut Call, kind: Kind, added: bool, topic: Option<&[u8]>) {
    let (channels, patterns) = call.session.topics_len();
    call.out.push(3);
    call.out.bulk(match (kind, added) {
        (Kind::Name, true) => b"subscribe",
        (Kind::Name, false) => b"unsubscribe",
        (Kind::Pattern, true) => b"psubscribe",
        (Kind::Pattern, false) => b"punsubscribe",
    });
    call.out.bulk_or_null(topic);
    call.out.len(channels + patterns);
}

pub fn unsubscribe(call: &mut Call) -> Result {
    remove(call, Kind::Name)
}

pub fn punsubscribe(call: &mut Call) -> Result {
    remove(call, Kind::Pattern)
}

fn remove(call: &mut Call, kind: Kind) -> Result {
    let topics: Vec<Text> = match (call.args.len(), &mut call.session.topics) {
        (1, Some(topics)) => topics.of(kind).iter().cloned().collect(),
        _ => call.args.from(1).map(Text::from).collect(),
    };
    for topic in &topics {
        call.session.unsubscribe(call.state, kind, topic);
        tell(call, kind, false, Some(topic));
    }
    if topics.is_empty() {
        tell(call, kind, false, None);
    }
    Ok(())
}

/// One message, written once for each of the two versions of the protocol.
struct Message<'a> {
    channel: &'a [u8],
    text: &'a [u8],
    written: [Option<Arc<[u8]>>; 2],
}

impl Message<'_> {
    fn written(&mut self, resp3: bool) -> Arc<[u8]> {
        let Self { channel, text, written } = self;
        let write = || {
            let mut reply = Reply { resp3, ..Reply::default() };
            reply.push(3);
            reply.bulk(b"message");
            reply.bulk(channel);
            reply.bulk(text);
            reply.bytes.into()
        };
        written[usize::from(resp3)].get_or_insert_with(write).clone()
    }

    /// Those who came by a pattern are told which.
    fn for_pattern(&self, pattern: &[u8], resp3: bool) -> Arc<[u8]> {
        let mut reply = Reply { resp3, ..Reply::default() };
        reply.push(4);
        reply.bulk(b"pmessage");
        reply.bulk(pattern);
        reply.bulk(self.channel);
        reply.bulk(self.text);
        reply.bytes.into()
    }
}

pub fn publish(call: &mut Call) -> Result {
    let (channel, text) = (call.args.at(1), call.args.at(2));
    call.state.clients.note(call.session, call.now);
    let mut message = Message { channel, text, written: [None, None] };
    let mut heard = 0;
    for (id, pattern) in call.state.channels.hearers(channel) {
        let Some(client) = call.state.clients.all.get(&id) else { continue };
        let (conn, resp3) = (client.conn, client.resp3);
        let payload = match pattern {
            None => message.written(resp3),
            Some(pattern) => message.for_pattern(&pattern, resp3),
        };
        heard += 1;
        if id == call.session.id {
            say_to_oneself(call, &payload);
            continue;
        }
        let Some(mut peer) = call.peer.to(conn) else { continue };
        let (unsent, max) = (peer.unsent(), call.state.settings.subscriber_max);
        if max > 0 && unsent + payload.len() > max {
            cut_off(id, client, unsent);
            peer.abort();
        } else {
            peer.send_shared(&payload);
        }
    }
    call.out.int(heard);
    Ok(())
}

/// It is sent behind the answer, and has the limit that other subscribers have.
fn say_to_oneself(call: &mut Call, payload: &[u8]) {
    let (own, id) = (&mut call.state.channels.own, call.session.id);
    let max = match call.state.settings.subscriber_max {
        0 => Reply::MAX,
        max => max,
    };
    let unsent = call.peer.unsent() + own.len();
    if call.session.is_closing {
        return;
    }
    if unsent + payload.len() <= max {
        own.extend_from_slice(payload);
        return;
    }
    *own = Vec::new();
    call.session.is_closing = true;
    if let Some(client) = call.state.clients.all.get(&id) {
        cut_off(id, client, unsent);
    }
}

/// A subscriber that does not read; each is named once, for it is gone then.
fn cut_off(id: u64, client: &Client, unsent: usize) {
    let name = Escaped::new(&client.name, NAME_SHOWN);
    let addr = &client.addr;
    warn!("cut off: client id={id} addr={addr} name={name} has left {unsent} bytes unread");
}

pub fn pubsub_channels(call: &mut Call) -> Result {
    if call.args.len() > 3 {
        return Err(call.wrong_number());
    }
    let pattern = call.args.get(2).unwrap_or(b"*");
    let names = call.state.channels.by_name.keys();
    let found: Vec<&Text> = names.filter(|name| glob::matches(pattern, name)).collect();
    call.out.array(found.len());
    found.into_iter().for_each(|name| call.out.bulk(name));
    Ok(())
}

pub fn pubsub_numsub(call: &mut Call) -> Result {
    let args = call.args;
    call.out.array(2 * (args.len() - 2));
    for channel in args.from(2) {
        call.out.bulk(channel);
        let ids = call.state.channels.by_name.get(channel);
        call.out.len(ids.map_or(0, |ids| ids.len()));
    }
    Ok(())
}

pub fn pubsub_numpat(call: &mut Call) -> Result {
    call.out.len(call.state.channels.by_pattern.len());
    Ok(())
}
