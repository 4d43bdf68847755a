pub(crate) fn page(_: &super::results::Results) -> String { String::new() }
