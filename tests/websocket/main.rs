//! The `websocket` example.
