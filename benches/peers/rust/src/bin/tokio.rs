//! Echo on tokio: its scheduler of one thread, a task and a buffer for each connection.
use std::env;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Result},
    net::{TcpListener, TcpStream},
};

async fn echo(mut stream: TcpStream, buffer_size: usize) -> Result<()> {
    let mut buffer = vec![0; buffer_size];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            size => stream.write_all(&buffer[..size]).await?,
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let asked = env::args().skip_while(|arg| arg != "--buffer").nth(1);
    let buffer_size = asked.and_then(|bytes| bytes.parse().ok()).unwrap_or(1024);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(echo(stream, buffer_size));
    }
}
