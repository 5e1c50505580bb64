//! Asks a server one question before it is measured and reads the whole answer: that a server which answers quickly
//! also answers rightly, with messages that the load itself only counts. It also makes the VM load its code.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use flate2::{Decompress, FlushDecompress};
use rustls::{ClientConnection, StreamOwned};

use crate::frame::{TEXT, frame};
use crate::handshake::{Endpoint, Target};
use crate::text;
use crate::wire::server_name;

/// Has one JSON text echoed at `path` and compares every byte.
pub fn echo(endpoint: &Endpoint, path: &str, deflate: bool) -> Result<()> {
    echo_once(endpoint, path, deflate).with_context(|| format!("probing {path} (deflate: {deflate})"))
}

/// Opens one WebSocket without TLS, blocking, with a timeout for reading.
pub fn open(endpoint: &Endpoint, path: &str) -> Result<TcpStream> {
    let mut stream = connect(endpoint)?;
    upgrade(&mut stream, &Target::websocket(endpoint, path, false)).with_context(|| path.to_owned())?;
    Ok(stream)
}

fn connect(endpoint: &Endpoint) -> Result<TcpStream> {
    let stream = TcpStream::connect(endpoint.address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(stream)
}

fn upgrade(stream: &mut (impl Read + Write), target: &Target) -> Result<()> {
    stream.write_all(target.request())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(read_some::<1>(stream)?[0]);
    }
    if !head.starts_with(b"HTTP/1.1 101 ") {
        bail!("no WebSocket: {:?}", String::from_utf8_lossy(&head));
    }
    Ok(())
}

fn echo_once(endpoint: &Endpoint, path: &str, deflate: bool) -> Result<()> {
    let target = Target::websocket(endpoint, path, deflate);
    let stream = connect(endpoint)?;
    match &endpoint.tls {
        None => ask(stream, &target, deflate),
        Some(config) => {
            let client = ClientConnection::new(Arc::clone(config), server_name())?;
            ask(StreamOwned::new(client, stream), &target, deflate)
        }
    }
}

fn ask(mut stream: impl Read + Write, target: &Target, deflate: bool) -> Result<()> {
    let question = text::json(1, 1024).remove(0);
    upgrade(&mut stream, target)?;
    stream.write_all(&frame(TEXT, &question, deflate))?;
    let [first, second] = read_some(&mut stream)?;
    if first != 0x80 | u8::from(deflate) << 6 | TEXT {
        bail!("the answer begins with {first:#04x} {second:#04x}");
    }
    let len = match second {
        126 => u16::from_be_bytes(read_some(&mut stream)?).into(),
        127 => bail!("the answer is much too long"),
        len => usize::from(len),
    };
    let mut payload = vec![0; len];
    stream.read_exact(&mut payload)?;
    let answer = if deflate { inflated(payload)? } else { payload };
    if answer != question {
        bail!("the answer is not what was asked: {:?}", String::from_utf8_lossy(&answer));
    }
    Ok(())
}

fn read_some<const N: usize>(stream: &mut impl Read) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).context("waiting for an answer")?;
    Ok(bytes)
}

/// RFC 7692 §7.2.2.
fn inflated(mut payload: Vec<u8>) -> Result<Vec<u8>> {
    payload.extend_from_slice(&[0, 0, 0xff, 0xff]);
    let mut out = Vec::with_capacity(64 * 1024);
    Decompress::new(false).decompress_vec(&payload, &mut out, FlushDecompress::Sync)?;
    Ok(out)
}
