//! The protocols that `charkh serve` speaks: the examples themselves, not copies of them.
#[allow(dead_code, unreachable_pub)]
#[path = "../../examples/chat.rs"]
pub(crate) mod chat;
#[allow(dead_code, unreachable_pub)]
#[path = "../../examples/echo.rs"]
pub(crate) mod echo;
#[allow(dead_code, unreachable_pub)]
#[path = "../../examples/greet.rs"]
pub(crate) mod greet;

pub(crate) use super::discard::Discard;
pub(crate) use chat::Chat;
pub(crate) use echo::Echo;
pub(crate) use greet::Greet;
