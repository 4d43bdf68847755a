//! Echo on smol: a local executor, a task and a buffer for each connection.
use smol::{
    LocalExecutor,
    io::{AsyncReadExt, AsyncWriteExt, Result},
    net::{TcpListener, TcpStream},
};
use std::env;

async fn echo(mut stream: TcpStream, buffer_size: usize) -> Result<()> {
    let mut buffer = vec![0; buffer_size];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            size => stream.write_all(&buffer[..size]).await?,
        }
    }
}

fn main() -> Result<()> {
    let asked = env::args().skip_while(|arg| arg != "--buffer").nth(1);
    let buffer_size = asked.and_then(|bytes| bytes.parse().ok()).unwrap_or(1024);
    let executor = LocalExecutor::new();
    smol::block_on(executor.run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?.port());
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            executor.spawn(echo(stream, buffer_size)).detach();
        }
    }))
}
