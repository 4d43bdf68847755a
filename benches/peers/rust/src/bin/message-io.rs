//! Echo on message-io: one callback for all that happens, one thread for the network.
use message_io::{
    network::{NetEvent, Transport},
    node,
};

fn main() -> std::io::Result<()> {
    let (handler, listener) = node::split::<()>();
    let (_, addr) = handler.network().listen(Transport::Tcp, "127.0.0.1:0")?;
    println!("{}", addr.port());
    listener.for_each(|event| {
        if let NetEvent::Message(from, data) = event.network() {
            handler.network().send(from, data);
        }
    });
    Ok(())
}
