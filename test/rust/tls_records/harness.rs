//! A client that speaks TLS as it should, up to the place where it does not. Shared with the fuzz target `tls`.
//!
//! A script says what a client does after its handshake: a sequence of steps, each of two bytes and its payload, the kind and the
//! length. What is cut off at the end of a script is not done.

#![allow(dead_code, reason = "each of its users needs a part of it")]

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;

use outrider::reception::Protocol;
use outrider::transport::tls::{Acceptor, Identity, Key, Settings};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateSec1KeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

use crate::harness::{Talk, run, talk};

const CERTIFICATE: &[u8] = include_bytes!("../../vectors/tls/server.crt");
const KEY: &[u8] = include_bytes!("../../vectors/tls/server.key");

/// Steps of a script; any other is [`SAY`]. The payload is sent in a record.
pub const SAY: u8 = 0;
/// New keys from here on (TLS 1.3), or nothing.
pub const REKEY: u8 = 1;
/// The payload is sent as it is.
pub const RAW: u8 = 2;
/// The payload is sent in a record, of which a byte behind its header is changed: the one that the payload's first says. Without
/// a payload there is no record.
pub const SPOIL: u8 = 3;
/// No more will be said.
pub const CLOSE: u8 = 4;
/// The payload is sent 64 times over, in records as they come.
pub const SAY_MUCH: u8 = 5;

/// Bytes before what a record carries. Of TLS 1.3 rustls looks at their length only, and takes the rest for what it must be.
const HEADER: usize = 5;

/// No more of these without a word between (rustls' limit).
pub const REKEYS: usize = 32;

/// What came of a script.
#[derive(Debug)]
pub struct Outcome {
    /// What the client could decrypt.
    pub received: String,
    /// What it would have got without TLS for what it has said by the rules.
    pub expected: String,
    /// It has kept the rules of TLS to the end, and has not ended.
    pub sound: bool,
    /// The server has ended the connection.
    pub closed: bool,
}

/// A step of a script.
pub fn step(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind, u8::try_from(payload.len()).expect("fits a script")], payload].concat()
}

/// Takes clients in with the certificate of the tests.
pub fn acceptor() -> Acceptor {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).expect("a certificate");
    let key = PrivateSec1KeyDer::from_pem_slice(KEY).expect("a key").secret_sec1_der().to_vec();
    let acceptor = Acceptor::new(None, None, |_| {});
    let settings = Settings::of(Identity { chain: vec![certificate.to_vec()], key: Key::Sec1(key) });
    acceptor.hosts.set(&settings).expect("are valid");
    acceptor
}

/// A client that trusts it.
fn client(version: &'static SupportedProtocolVersion) -> ClientConnection {
    client_with(version, |_| {})
}

/// The same with a change.
pub fn client_with(
    version: &'static SupportedProtocolVersion,
    change: impl FnOnce(&mut ClientConfig),
) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(CERTIFICATE).expect("a certificate")).expect("one that may vouch");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]);
    let mut config = builder.expect("a version").with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::disabled();
    change(&mut config);
    ClientConnection::new(Arc::new(config), "localhost".try_into().expect("a name")).expect("begins")
}

/// The types of the records that the server sends to a client of which these are the first bytes, so many at a time; and whether it
/// ends the connection.
pub fn greet(bytes: &[u8], at_a_time: usize) -> (Vec<u8>, bool) {
    run(async {
        let mut talk = Talk::start(Protocol::Http, Some(acceptor()));
        for piece in bytes.chunks(at_a_time) {
            talk.send(piece).await;
        }
        assert_eq!(talk.requests(), 0, "there has been no handshake");
        let (types, closed) = (types(&talk.received), talk.closed);
        talk.end().await;
        (types, closed)
    })
}

/// The types of these records; of what is none, its first byte.
fn types(mut records: &[u8]) -> Vec<u8> {
    let mut types = Vec::new();
    while let Some(&[kind, _, _, high, low]) = records.first_chunk() {
        types.push(kind);
        records = records.get(5 + usize::from(u16::from_be_bytes([high, low]))..).unwrap_or_default();
    }
    types
}

/// What comes of a script, of which so many bytes are sent at a time, as of the handshake before it.
pub fn speak(version: &'static SupportedProtocolVersion, script: &[u8], at_a_time: usize) -> Outcome {
    let (received, said, sound, closed) = run(async {
        let mut client = client(version);
        let mut talk = Talk::start(Protocol::Http, Some(acceptor()));
        let mut taken = 0;
        while client.is_handshaking() {
            send(&mut talk, &wire(&mut client), at_a_time).await;
            taken += take(&mut client, &talk.received[taken..]);
        }
        let (bytes, said, sound) = perform(&mut client, script);
        send(&mut talk, &bytes, at_a_time).await;
        take(&mut client, &talk.received[taken..]);
        let (received, closed) = (read(&mut client), talk.closed);
        talk.end().await;
        (received, said, sound, closed)
    });
    let received = received.escape_ascii().to_string().replace("\\r\\n", "\n");
    let received = received.replace("HTTP/1.1 100 Continue\n\n", "");
    Outcome { received, expected: talk([said.as_slice()]).received, sound, closed }
}

/// What a client sends by a script, what it has said before it broke the rules or ended, and whether it has not.
fn perform(client: &mut ClientConnection, script: &[u8]) -> (Vec<u8>, Vec<u8>, bool) {
    let (mut bytes, mut said, mut sound) = (wire(client), Vec::new(), true);
    let mut rekeys = 0;
    let mut rest = script;
    while let Some((&[kind, length], behind)) = rest.split_first_chunk() {
        let Some((payload, behind)) = behind.split_at_checked(length.into()) else { break };
        rest = behind;
        if kind == RAW {
            bytes.extend_from_slice(payload);
            sound &= payload.is_empty();
            continue;
        }
        let payload = match kind {
            REKEY | CLOSE => Vec::new(),
            SAY_MUCH => payload.repeat(64),
            _ => payload.to_vec(),
        };
        match kind {
            REKEY => drop(client.refresh_traffic_keys()), // TLS 1.2 has no such thing.
            CLOSE => client.send_close_notify(),
            _ => client.writer().write_all(&payload).expect("into memory"),
        }
        let mut records = wire(client);
        if kind == SPOIL && !records.is_empty() {
            let at = HEADER + usize::from(payload[0]) % (records.len() - HEADER);
            records[at] ^= 1;
            sound = false;
        }
        if sound {
            said.extend_from_slice(&payload);
        }
        rekeys = if kind == REKEY {
            rekeys + 1
        } else if payload.is_empty() {
            rekeys
        } else {
            0
        };
        sound &= kind != CLOSE && rekeys <= REKEYS;
        bytes.extend(records);
        if kind == CLOSE {
            break;
        }
    }
    (bytes, said, sound)
}

/// What the client wants to send.
pub fn wire(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).expect("into memory");
    }
    bytes
}

async fn send(talk: &mut Talk, bytes: &[u8], at_a_time: usize) {
    for piece in bytes.chunks(at_a_time) {
        talk.send(piece).await;
    }
}

/// Gives the client what the server has sent; says how much that is. What it sends is always right.
pub fn take(client: &mut ClientConnection, bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while !rest.is_empty() {
        client.read_tls(&mut rest).expect("there is room");
        if let Err(error) = client.process_new_packets() {
            assert!(matches!(error, rustls::Error::AlertReceived(_)), "the server breaks the rules: {error}");
            break;
        }
    }
    bytes.len()
}

fn read(client: &mut ClientConnection) -> Vec<u8> {
    let mut plain = Vec::new();
    match client.reader().read_to_end(&mut plain) {
        Ok(_) => {}
        Err(error) => assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::UnexpectedEof), "{error}"),
    }
    plain
}
