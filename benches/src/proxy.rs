//! The yardstick: forwards bytes both ways and looks at none of them.

use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use anyhow::Result;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

/// Serves on a free port until it is killed: one connection out for each that comes in.
pub(crate) fn serve(to: SocketAddr) -> Result<()> {
    let tasks = Rc::new(LocalSet::new());
    tasks.block_on(&crate::runtime()?, async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        println!("{}", listener.local_addr()?);
        loop {
            let (client, _) = listener.accept().await?;
            // The process ends with its connections; nobody waits for them.
            tokio::task::spawn_local(async move {
                // A side that hangs up early is no error here.
                drop(forward(client, to).await);
            });
        }
    })
}

async fn forward(mut client: TcpStream, to: SocketAddr) -> Result<()> {
    let mut upstream = TcpStream::connect(to).await?;
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut upstream).await?;
    Ok(())
}
