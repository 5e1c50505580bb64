use std::io::{Read, Write};
use std::path::Path;

use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion, version};

use super::super::config::{self, Memory};
use super::super::options::{Identity, Options, Settings};
use super::*;

const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];

fn vector(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("test/vectors/tls").join(name)
}

fn session() -> Session {
    let identity = Identity::from_files(&vector("server.crt"), &vector("server.key")).expect("files");
    let options: Options = Settings::of(identity).default;
    let config = config::build(&options, &Memory::new(&options, 10).expect("random")).expect("is valid");
    Session::new(config, Vec::new()).expect("begins")
}

fn client(version: &'static SupportedProtocolVersion) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(vector("server.crt")).expect("a file")).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]);
    let mut config = builder.expect("a version").with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::disabled();
    ClientConnection::new(Arc::new(config), "localhost".try_into().expect("a name")).expect("begins")
}

/// What the client wants to send.
fn sent(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).expect("into memory");
    }
    bytes
}

/// Gives the session bytes as the socket does, `step` at a time; says the plaintext.
fn give(session: &mut Session, bytes: &[u8], step: usize, out: &mut Vec<u8>) -> Result<Vec<u8>, Error> {
    let mut plain = Vec::new();
    let mut buffer = vec![0xee; LEAST_BUFFER];
    for piece in bytes.chunks(step) {
        let at = session.lay(&mut buffer).expect("has room");
        buffer[at..at + piece.len()].copy_from_slice(piece);
        let n = session.receive(&mut buffer, at + piece.len(), out)?;
        plain.extend_from_slice(&buffer[..n]);
    }
    Ok(plain)
}

fn take(client: &mut ClientConnection, mut bytes: &[u8]) -> Result<(), Error> {
    while !bytes.is_empty() {
        client.read_tls(&mut bytes).expect("from memory");
        client.process_new_packets()?;
    }
    Ok(())
}

fn read(client: &mut ClientConnection, length: usize) -> Vec<u8> {
    let mut plain = vec![0; length];
    client.reader().read_exact(&mut plain).expect("has come");
    plain
}

/// Both, behind the handshake, which is cut into pieces of `step` bytes.
fn shaken(version: &'static SupportedProtocolVersion, step: usize) -> (ClientConnection, Session) {
    let (mut client, mut session) = (client(version), session());
    while client.is_handshaking() || session.is_handshaking() {
        let mut out = Vec::new();
        let bytes = sent(&mut client);
        give(&mut session, &bytes, step, &mut out).expect("is a handshake");
        take(&mut client, &out).expect("is a handshake");
    }
    (client, session)
}

/// What `send` makes of data.
fn encrypt(session: &mut Session, data: &[u8]) -> Vec<u8> {
    let mut out = vec![0; sealed(data.len())];
    let n = session.send(data, &mut out).expect("encrypts");
    out.truncate(n);
    out
}

#[test]
fn records_cut_anywhere_are_read() {
    for version in VERSIONS {
        for step in [1, 2, 5, 6, 100, 4096] {
            let (mut client, mut session) = shaken(version, step);
            let (mut said, mut bytes) = (Vec::new(), Vec::new());
            for size in [0, 1, 15, 200, RECORD - 1, RECORD, RECORD + 1, 3 * RECORD] {
                client.writer().write_all(&vec![size as u8; size]).expect("into memory");
                said.extend(vec![size as u8; size]);
                bytes.extend(sent(&mut client));
            }
            // Each byte alone would take long where the record is long.
            let step = if step < 100 { step.max(bytes.len() / 2000) } else { step };
            let mut out = Vec::new();
            assert!(give(&mut session, &bytes, step, &mut out).expect("is read") == said);
            assert!(out.is_empty() && session.kept.is_empty());
        }
    }
}

#[test]
fn a_record_cut_at_every_byte_is_read_with_its_last() {
    for version in VERSIONS {
        let (mut client, mut session) = shaken(version, 4096);
        for cut in 0..40 {
            client.writer().write_all(b"a message of so many bytes").expect("into memory");
            let bytes = sent(&mut client);
            let cut = cut.min(bytes.len() - 1);
            let mut out = Vec::new();
            assert_eq!(give(&mut session, &bytes[..cut], 4096, &mut out), Ok(Vec::new()));
            // What is sent meanwhile does not disturb it.
            let answer = encrypt(&mut session, b"an answer");
            take(&mut client, &answer).expect("is read");
            assert_eq!(read(&mut client, 9), b"an answer");
            assert_eq!(
                give(&mut session, &bytes[cut..], 4096, &mut out).expect("is read"),
                b"a message of so many bytes"
            );
        }
    }
}

#[test]
fn a_connection_that_waits_keeps_nothing() {
    for version in VERSIONS {
        let (mut client, mut session) = shaken(version, 4096);
        client.writer().write_all(&[7; 1000]).expect("into memory");
        let bytes = sent(&mut client);
        give(&mut session, &bytes[..500], 4096, &mut Vec::new()).expect("is read");
        assert_eq!(session.kept.len(), 500);
        give(&mut session, &bytes[500..], 4096, &mut Vec::new()).expect("is read");
        assert_eq!(session.kept.capacity(), 0);
    }
}

#[test]
fn what_is_encrypted_fits_and_is_read() {
    for version in VERSIONS {
        let (mut client, mut session) = shaken(version, 4096);
        for size in [1, 200, RECORD - 1, RECORD, RECORD + 1, 4 * RECORD] {
            let data: Vec<u8> = (0..size).map(|at| at as u8).collect();
            let bytes = encrypt(&mut session, &data);
            let mut rest = &bytes[..];
            let mut plain = Vec::new();
            while !rest.is_empty() {
                client.read_tls(&mut rest).expect("from memory");
                let ready = client.process_new_packets().expect("is read").plaintext_bytes_to_read();
                plain.extend(read(&mut client, ready));
            }
            assert!(plain == data, "{size}");
        }
    }
}

#[test]
fn a_key_update_is_followed_and_answered() {
    let (mut client, mut session) = shaken(&version::TLS13, 4096);
    for round in 0..40u8 {
        client.refresh_traffic_keys().expect("may be asked for");
        client.writer().write_all(&[round; 10]).expect("into memory");
        let bytes = sent(&mut client);
        // Cut inside the update, too.
        let mut out = Vec::new();
        assert_eq!(give(&mut session, &bytes, 3, &mut out).expect("is read"), [round; 10]);
        let answer = encrypt(&mut session, &[round; 5]);
        take(&mut client, &answer).expect("is read");
        assert_eq!(read(&mut client, 5), [round; 5]);
    }
}

#[test]
fn nobody_makes_us_update_keys_for_ever() {
    let (mut client, mut session) = shaken(&version::TLS13, 4096);
    let mut out = Vec::new();
    let end = (0..100).find_map(|_| {
        client.refresh_traffic_keys().expect("may be asked for");
        let bytes = sent(&mut client);
        give(&mut session, &bytes, 4096, &mut out).err()
    });
    assert!(end.is_some());
    assert!(out.len() < 100, "an alert and no more: {}", out.len());
}

#[test]
fn a_close_notify_ends_one_direction() {
    for version in VERSIONS {
        let (mut client, mut session) = shaken(version, 4096);
        client.writer().write_all(b"the last").expect("into memory");
        client.send_close_notify();
        let bytes = sent(&mut client);
        assert_eq!(give(&mut session, &bytes, 4096, &mut Vec::new()).expect("is read"), b"the last");
        assert!(session.has_ended());
        let answer = encrypt(&mut session, b"still sent");
        take(&mut client, &answer).expect("is read");
        assert_eq!(read(&mut client, 10), b"still sent");
        let mut out = vec![0; sealed(0)];
        let n = session.end(&mut out).expect("encrypts");
        take(&mut client, &out[..n]).expect("is read");
        assert_eq!(client.reader().read(&mut [0]).expect("a clean end"), 0);
    }
}

#[test]
fn what_is_no_record_is_answered_with_an_alert() {
    for version in VERSIONS {
        for flipped in [0, 1, 3, 20] {
            let (mut client, mut session) = shaken(version, 4096);
            client.writer().write_all(b"a message").expect("into memory");
            let mut bytes = sent(&mut client);
            bytes[flipped] ^= 0x80;
            let mut out = Vec::new();
            // A length that is larger now waits for the rest.
            if give(&mut session, &bytes, 4096, &mut out).is_err() {
                assert!(take(&mut client, &out).is_err(), "an alert");
                assert!(session.kept.is_empty());
            }
        }
    }
    let mut out = Vec::new();
    assert!(give(&mut session(), b"GET / HTTP/1.1\r\n\r\n", 4096, &mut out).is_err());
}

#[test]
fn an_endless_handshake_is_given_up() {
    // A ClientHello that says it has 16 MiB, in records of one byte.
    let message = [&[1, 0xff, 0xff, 0xff][..], &[0; 200_000]].concat();
    let records: Vec<u8> = message.iter().flat_map(|byte| [22, 3, 1, 0, 1, *byte]).collect();
    let mut session = session();
    let mut buffer = vec![0; LEAST_BUFFER];
    for piece in records.chunks(600) {
        let Some(at) = session.lay(&mut buffer).filter(|at| at + piece.len() <= buffer.len()) else { return };
        buffer[at..at + piece.len()].copy_from_slice(piece);
        if session.receive(&mut buffer, at + piece.len(), &mut Vec::new()).is_err() {
            return;
        }
        assert!(session.kept.len() <= LEAST_BUFFER);
    }
    panic!("it has taken {} bytes", records.len());
}

/// rustls knows the beginning of a handshake message by its place, which is gone with the failure.
#[test]
fn what_has_failed_in_the_middle_of_a_message_only_fails_again() {
    let hello = [&[22, 3, 1, 0, 50, 1, 0, 1, 252, 3, 3][..], &[7; 44]].concat();
    for rest in [&b"\x01\0\x0c\0\0\0\0\0\0"[..], b"\x17\x03\x03\0\x01x", b"\x15\x03\x03\0\x02\x02\x28"] {
        for step in [1, 55, 4096] {
            let (mut session, mut out) = (session(), Vec::new());
            let error = give(&mut session, &[&hello, rest].concat(), step, &mut out).expect_err("is no handshake");
            assert_eq!(give(&mut session, rest, step, &mut out), Err(error.clone()));
            assert_eq!(session.end(&mut [0; sealed(0)]), Err(error.clone()));
            assert_eq!(session.send(b"x", &mut [0; sealed(1)]), Err(error));
        }
    }
}
