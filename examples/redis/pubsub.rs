//! Who has subscribed to what, by channel and by pattern.
use super::{clients::Ids, glob, text::Text, value::Map};

#[derive(Default, Debug)]
pub struct Channels {
    pub by_name: Map<Ids>,
    pub by_pattern: Map<Ids>,
    /// What a client has said that it hears itself; it is sent behind the answer.
    pub own: Vec<u8>,
}

/// A channel by its name, or all whose names match.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Name,
    Pattern,
}

impl Channels {
    fn of(&mut self, kind: Kind) -> &mut Map<Ids> {
        match kind {
            Kind::Name => &mut self.by_name,
            Kind::Pattern => &mut self.by_pattern,
        }
    }

    pub fn add(&mut self, kind: Kind, topic: &[u8], id: u64) {
        let topics = self.of(kind);
        match topics.get_mut(topic) {
            Some(ids) => drop(ids.insert(id)),
            None => drop(topics.insert(topic.into(), Ids::from_iter([id]))),
        }
    }

    pub fn remove(&mut self, kind: Kind, topic: &[u8], id: u64) {
        let topics = self.of(kind);
        if let Some(ids) = topics.get_mut(topic) {
            ids.swap_remove(&id);
            if ids.is_empty() {
                topics.swap_remove(topic);
            }
        }
    }

    /// Those who hear what is said on a channel, each with the pattern that it matches, if it came
    /// by one. Costs as much as there are patterns.
    pub fn hearers(&self, channel: &[u8]) -> Vec<(u64, Option<Text>)> {
        let by_name = self.by_name.get(channel).into_iter().flatten();
        let mut all: Vec<_> = by_name.map(|&id| (id, None)).collect();
        for (pattern, ids) in &self.by_pattern {
            if glob::matches(pattern, channel) {
                all.extend(ids.iter().map(|&id| (id, Some(pattern.clone()))));
            }
        }
        all
    }
}
