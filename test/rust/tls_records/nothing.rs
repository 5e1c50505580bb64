//! Records of TLS that bring no plaintext. rustls ends a connection for many empty ones without a word between, and for many new keys
//! without a record of data between; of both in turn a client may send as many as it likes, and as fast as it can.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::{future, io};

use outrider::reception::Protocol;
use outrider::transport::{Plain, scratch};
use rustls::crypto::cipher::{AeadKey, Iv, MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::crypto::ring::cipher_suite::TLS13_AES_256_GCM_SHA384;
use rustls::crypto::tls13::OkmBlock;
use rustls::{ClientConnection, ContentType, KeyLog, ProtocolVersion, Tls13CipherSuite, version};
use tokio::net::UnixStream;

use crate::harness::{Talk, run};
use crate::script::{acceptor, client_with, take, wire};

/// More than one read takes, and no more than a socket holds.
const FLOOD: usize = 150_000;

/// A handshake message: new keys, and none are wanted in answer (RFC 8446, 4.6.3).
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];

/// The secret of a client's application data.
#[derive(Debug, Default)]
struct Secret(Mutex<Vec<u8>>);

impl KeyLog for Secret {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        if label == "CLIENT_TRAFFIC_SECRET_0" {
            *self.0.lock().expect("is not poisoned") = secret.to_vec();
        }
    }
}

/// A client that says its secret.
fn client() -> (ClientConnection, Arc<Secret>) {
    let secret = Arc::new(Secret::default());
    let client = client_with(&version::TLS13, |config| config.key_log = Arc::clone(&secret) as Arc<dyn KeyLog>);
    (client, secret)
}

/// Goes on for a client whose handshake is over: rustls would make no empty record.
struct Writer {
    secret: OkmBlock,
    encrypter: Box<dyn MessageEncrypter>,
    number: u64,
}

fn suite() -> &'static Tls13CipherSuite {
    TLS13_AES_256_GCM_SHA384.tls13().expect("is one of TLS 1.3")
}

/// RFC 8446, 7.1.
fn expand<const LENGTH: usize>(secret: &OkmBlock, label: &str) -> [u8; LENGTH] {
    let label = [b"tls13 ", label.as_bytes()].concat();
    let info = [&[0, LENGTH as u8, label.len() as u8], &label[..], &[0]];
    let mut expanded = [0; LENGTH];
    suite().hkdf_provider.expander_for_okm(secret).expand_slice(&info, &mut expanded).expect("is short");
    expanded
}

impl Writer {
    fn new(secret: OkmBlock) -> Self {
        let (key, iv) = (AeadKey::from(expand(&secret, "key")), Iv::new(expand(&secret, "iv")));
        Self { encrypter: suite().aead_alg.encrypter(key, iv), secret, number: 0 }
    }

    fn of(secret: &Secret) -> Self {
        Self::new(OkmBlock::new(&secret.0.lock().expect("is not poisoned")))
    }

    fn record(&mut self, typ: ContentType, payload: &[u8]) -> Vec<u8> {
        let payload = OutboundChunks::Single(payload);
        let message = OutboundPlainMessage { typ, version: ProtocolVersion::TLSv1_3, payload };
        self.number += 1;
        self.encrypter.encrypt(message, self.number - 1).expect("encrypts").encode()
    }

    /// So many bytes of records that bring nothing, and one with this payload.
    fn flood(&mut self, bytes: usize, payload: &[u8]) -> Vec<u8> {
        let mut flood = Vec::new();
        while flood.len() < bytes {
            flood.extend(self.record(ContentType::ApplicationData, b""));
            flood.extend(self.record(ContentType::Handshake, &KEY_UPDATE));
            *self = Self::new(OkmBlock::new(&expand::<48>(&self.secret, "traffic upd")));
        }
        flood.extend(self.record(ContentType::ApplicationData, payload));
        flood
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A client's side of a handshake on this socket.
async fn shake(socket: &UnixStream) -> Writer {
    let (mut client, secret) = client();
    while client.is_handshaking() {
        let bytes = wire(&mut client);
        assert_eq!(socket.try_write(&bytes).expect("has room"), bytes.len());
        let mut buffer = [0; 4096];
        socket.readable().await.expect("an answer");
        match socket.try_read(&mut buffer) {
            Ok(n) => drop(take(&mut client, &buffer[..n])),
            Err(e) => assert_eq!(e.kind(), io::ErrorKind::WouldBlock),
        }
    }
    let last = wire(&mut client);
    assert_eq!(socket.try_write(&last).expect("has room"), last.len());
    Writer::of(&secret)
}

#[test]
fn the_others_have_their_turn_when_one_buffer_of_them_has_been_read() {
    run(async {
        let (socket, served) = UnixStream::pair().expect("a pair of sockets");
        let acceptor = acceptor();
        let accept = acceptor.accept(Plain::Unix(Box::new(served)), Vec::new());
        let (accepted, mut writer) = tokio::join!(accept, shake(&socket));
        let (mut stream, _) = accepted.expect("is taken in");
        let flood = writer.flood(FLOOD, b"the end");
        assert_eq!(socket.try_write(&flood).expect("has room"), flood.len());
        future::poll_fn(|cx| stream.plain().poll_read_ready(cx)).await.expect("is there");
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let waker = Waker::from(Arc::clone(&woken));
        let mut buffer = vec![0; scratch::SIZE];
        let read = stream.poll_read(&mut Context::from_waker(&waker), &mut buffer);
        assert!(read.is_pending(), "{read:?}");
        assert!(woken.0.load(Ordering::Relaxed) && stream.plain().has_news(), "there is more, and it will be read");
        let n = future::poll_fn(|cx| match stream.poll_read(cx, &mut buffer) {
            Poll::Ready(n) => Poll::Ready(n.expect("is read")),
            Poll::Pending => Poll::Pending,
        });
        assert_eq!(n.await, 7);
    });
}

/// The same of a request, and of a WebSocket, which has its turns in another way.
#[test]
fn what_comes_behind_them_is_heard() {
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let outcome = run(async {
        let (mut client, secret) = client();
        let mut talk = Talk::start(Protocol::Http, Some(acceptor()));
        let mut taken = 0;
        while client.is_handshaking() {
            talk.send(&wire(&mut client)).await;
            taken += take(&mut client, &talk.received[taken..]);
        }
        talk.send(&wire(&mut client)).await;
        let mut writer = Writer::of(&secret);
        talk.send(&writer.flood(FLOOD, request)).await;
        assert_eq!(talk.requests(), 1);
        talk.send(&writer.flood(FLOOD, b"\x81\x85\0\0\0\0hello")).await;
        talk.end().await
    });
    assert!(
        outcome.heard.first().is_some_and(|heard| heard.contains("text") && heard.contains("104, 101, 108, 108, 111")),
        "{outcome:?}"
    );
}
