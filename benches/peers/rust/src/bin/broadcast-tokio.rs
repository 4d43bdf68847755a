//! Broadcast on tokio: its channel of that name, and a task for each connection that passes on what
//! comes from it.
use std::{env, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Result},
    net::{TcpListener, TcpStream},
    select,
    sync::broadcast::{Sender, channel},
};

/// Messages that wait for the slowest.
const CAPACITY: usize = 16;

async fn serve(
    mut stream: TcpStream,
    payload: Arc<[u8]>,
    everyone: Sender<Arc<[u8]>>,
) -> Result<()> {
    let mut heard = everyone.subscribe();
    let mut buffer = [0; 64];
    loop {
        select! {
            size = stream.read(&mut buffer) => match size? {
                0 => return Ok(()),
                _ => drop(everyone.send(payload.clone())),
            },
            said = heard.recv() => match said {
                Ok(said) => stream.write_all(&said).await?,
                Err(_) => return Ok(()),
            },
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let asked = env::args().skip_while(|arg| arg != "--size").nth(1);
    let size = asked.and_then(|bytes| bytes.parse().ok()).unwrap_or(100);
    let payload: Arc<[u8]> = vec![b'x'; size].into();
    let (everyone, _) = channel(CAPACITY);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(serve(stream, payload.clone(), everyone.clone()));
    }
}
