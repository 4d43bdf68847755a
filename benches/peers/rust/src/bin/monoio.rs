//! Echo on monoio: a task for each connection, whose buffer goes to the kernel and comes back.
//! On io_uring where the kernel lets it, or else on epoll.
use monoio::{
    FusionDriver, RuntimeBuilder,
    io::{AsyncReadRent, AsyncWriteRentExt},
    net::{TcpListener, TcpStream},
};
use std::{env, io::Result};

async fn echo(mut stream: TcpStream, buffer_size: usize) -> Result<()> {
    let mut buffer = Vec::with_capacity(buffer_size);
    loop {
        let (read, filled) = stream.read(buffer).await;
        if read? == 0 {
            return Ok(());
        }
        let (written, used) = stream.write_all(filled).await;
        written?;
        buffer = used;
        buffer.clear();
    }
}

fn main() -> Result<()> {
    let asked = env::args().skip_while(|arg| arg != "--buffer").nth(1);
    let buffer_size = asked.and_then(|bytes| bytes.parse().ok()).unwrap_or(1024);
    let mut runtime = RuntimeBuilder::<FusionDriver>::new().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        println!("{}", listener.local_addr()?.port());
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            monoio::spawn(echo(stream, buffer_size));
        }
    })
}
