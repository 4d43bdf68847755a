//! `charkh load merge`: what several generators have measured at the same time, as one.
use super::results::{Results, Verdict};

/// All of them; there is at least one.
pub(crate) fn merge(all: Vec<Results>) -> Option<Results> {
    let count = all.len();
    let worst = all.iter().map(|one| one.verdict.trust).max()?;
    let named = |(n, one): (usize, &Results)| {
        let reasons = one.verdict.reasons.clone();
        reasons.into_iter().map(move |reason| format!("of generator {}: {reason}", n + 1))
    };
    let reasons = all.iter().enumerate().flat_map(named).collect::<Vec<_>>();
    let mut sum = all.into_iter().reduce(add)?;
    if count > 1 {
        sum.verdict = Verdict { trust: worst, reasons };
    }
    Some(sum)
}

fn add(mut sum: Results, other: Results) -> Results {
    sum.commands.extend(other.commands);
    if sum.target != other.target {
        sum.target = format!("{}, {}", sum.target, other.target);
    }
    sum.began_unix = sum.began_unix.min(other.began_unix);
    sum.generators += other.generators;
    sum.threads += other.threads;
    sum.measured_from_s = sum.measured_from_s.min(other.measured_from_s);
    sum.measured_s = sum.measured_s.max(other.measured_s);
    sum.planned_rate = match (sum.planned_rate, other.planned_rate) {
        (Some(one), Some(two)) => Some(one + two),
        (one, two) => one.or(two),
    };
    let (ours, theirs) = (&mut sum.connections, &other.connections);
    ours.asked += theirs.asked;
    ours.up_max += theirs.up_max;
    ours.opened += theirs.opened;
    ours.connecting_s = ours.connecting_s.max(theirs.connecting_s);
    sum.requests += other.requests;
    sum.bytes_in += other.bytes_in;
    sum.bytes_out += other.bytes_out;
    sum.unsent += other.unsent;
    sum.latency.add(&other.latency);
    sum.service.add(&other.service);
    sum.first_byte.add(&other.first_byte);
    sum.connect.add(&other.connect);
    sum.handshake.add(&other.handshake);
    sum.tls.add(&other.tls);
    for (kind, count) in other.errors {
        *sum.errors.entry(kind).or_default() += count;
    }
    for (kind, first) in other.examples {
        sum.examples.entry(kind).or_insert(first);
    }
    sum.series = sum.series.and(other.series);
    fairness(&mut sum, &other.fairness);
    testimony(&mut sum, other.testimony);
    sum.search = None; // each has its own edge
    sum
}

fn fairness(sum: &mut Results, other: &super::results::Fairness) {
    let ours = &mut sum.fairness;
    if ours.connections == 0 || other.most_starved_requests < ours.most_starved_requests {
        ours.most_starved = other.most_starved;
        ours.most_starved_requests = other.most_starved_requests;
    }
    ours.connections += other.connections;
    ours.sum += other.sum;
    ours.sum_of_squares += other.sum_of_squares;
    ours.longest_gap_ms = ours.longest_gap_ms.max(other.longest_gap_ms);
    ours.judge();
}

fn testimony(sum: &mut Results, other: super::results::Testimony) {
    let ours = &mut sum.testimony;
    ours.lateness.add(&other.lateness);
    ours.handling.add(&other.handling);
    ours.longest_turn_ms = ours.longest_turn_ms.max(other.longest_turn_ms);
    ours.turn_p99_ms = ours.turn_p99_ms.max(other.turn_p99_ms);
    ours.cpu_s += other.cpu_s;
    ours.wall_s += other.wall_s;
    ours.waited_s = ours.waited_s.zip(other.waited_s).map(|(one, two)| one + two);
    ours.busiest = ours.busiest.max(other.busiest);
    ours.steal = match (ours.steal, other.steal) {
        (Some(one), Some(two)) => Some(one.max(two)),
        (one, two) => one.or(two),
    };
    for (name, count) in other.limits {
        *ours.limits.entry(name).or_default() += count;
    }
}
