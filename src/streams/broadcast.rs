//! Frames on their way to many clients: encoded once for each [`Class`] of them, and held once however many wait for them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::queued::{Queued, Share};
use crate::metrics::{Opcode, count};
use crate::port::message::{Frame, OVERHEAD};
use crate::ws::{Class, Kind};

/// Frames for many clients, in the order in which each gets them; there until the last has been given them.
pub struct Broadcast {
    /// What each is, and its payload.
    frames: Box<[(Opcode, Box<[u8]>)]>,
    /// Bytes that may wait for a client that has set no limit of its own.
    pub window: usize,
    queued: Rc<Queued>,
    encoded: RefCell<Vec<(Class, Rc<Shared>)>>,
    /// Bytes of their payloads.
    payload: u64,
    /// How many clients get them.
    clients: Cell<u64>,
    _held: Share,
}

/// Whole frames as they go over the wire, to every client of a class. They count in the sum of what waits for clients once,
/// until the last client has taken them.
pub struct Shared {
    bytes: Box<[u8]>,
    is_kept: bool,
    _share: Share,
}

impl Shared {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A client's inflater keeps some of it: there are compressed messages among the frames.
    pub fn is_kept(&self) -> bool {
        self.is_kept
    }
}

impl Broadcast {
    /// Nothing is encoded until the first client asks. `held` counts the payloads, `queued` what is encoded; `window` in bytes.
    pub fn new(frames: &[Frame<'_>], queued: &Rc<Queued>, held: Share, window: usize) -> Self {
        let payload = frames.iter().map(|frame| frame.payload().len()).sum();
        held.set(payload);
        let owned = |frame: &Frame<'_>| {
            let opcode = match *frame {
                Frame::Message(kind, _) => kind.into(),
                Frame::Ping(_) => Opcode::Ping,
                Frame::Pong(_) => Opcode::Pong,
            };
            (opcode, frame.payload().into())
        };
        Self {
            frames: frames.iter().map(owned).collect(),
            window,
            queued: Rc::clone(queued),
            encoded: RefCell::default(),
            payload: payload as u64,
            clients: Cell::new(0),
            _held: held,
        }
    }

    /// How many frames these are.
    pub fn count(&self) -> u32 {
        self.frames.len() as u32
    }

    /// One client more gets them.
    pub fn counted(&self) {
        self.clients.set(self.clients.get() + 1);
    }

    /// Bytes of their payloads, all together.
    pub fn payload(&self) -> u64 {
        self.payload
    }

    /// As a client of this class gets them.
    pub fn encoded(&self, class: Class) -> Rc<Shared> {
        let mut encoded = self.encoded.borrow_mut();
        if let Some((_, shared)) = encoded.iter().find(|(other, _)| *other == class) {
            return Rc::clone(shared);
        }
        let (mut bytes, mut has_messages) = (Vec::new(), false);
        for (opcode, payload) in &self.frames {
            let kind = match opcode {
                Opcode::Ping => {
                    class.ping(payload, &mut bytes);
                    continue;
                }
                Opcode::Pong => {
                    class.pong(payload, &mut bytes);
                    continue;
                }
                Opcode::Text => Kind::Text,
                Opcode::Binary => Kind::Binary,
            };
            class.message(kind, payload, &mut bytes);
            has_messages = true;
        }
        let share = self.queued.share();
        share.set(bytes.len() + OVERHEAD);
        let is_kept = has_messages && class.compresses();
        let shared = Rc::new(Shared { bytes: bytes.into(), is_kept, _share: share });
        encoded.push((class, Rc::clone(&shared)));
        shared
    }
}

/// What all clients together were sent is counted at the end, not for each of them.
impl Drop for Broadcast {
    fn drop(&mut self) {
        let clients = self.clients.get();
        for (opcode, payload) in &self.frames {
            count(|metrics| metrics.sent(*opcode, clients, payload.len() as u64));
        }
    }
}
