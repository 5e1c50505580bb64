//! What a WebSocket has seldom, one at a time: eight bytes where there is nothing.

/// What a lazy handler begins with; or, once a handler has begun, a pong.
#[derive(Default)]
pub struct Aside(Option<Box<Kind>>);

enum Kind {
    Lazy(Box<[u8]>),
    Pong(Box<[u8]>),
}

impl Aside {
    /// What a lazy handler begins with; of no bytes, nothing.
    pub fn lazy(bytes: &[u8]) -> Self {
        Self((!bytes.is_empty()).then(|| Box::new(Kind::Lazy(bytes.into()))))
    }

    /// The handler is lazy and has not begun.
    pub fn is_lazy(&self) -> bool {
        matches!(self.0.as_deref(), Some(Kind::Lazy(_)))
    }

    /// Takes what a lazy handler begins with; empty where none is to begin.
    pub fn take_lazy(&mut self) -> Vec<u8> {
        match self.0.take_if(|kind| matches!(**kind, Kind::Lazy(_))).map(|kind| *kind) {
            Some(Kind::Lazy(bytes)) => bytes.into_vec(),
            _ => Vec::new(),
        }
    }

    /// Keeps a pong that must wait for the end of a frame whose payload is still coming: from the handler, so it has begun. The
    /// last one holds (RFC 6455, 5.5.3).
    pub fn put_pong(&mut self, payload: &[u8]) {
        debug_assert!(!self.is_lazy(), "a frame of a handler that has not begun");
        self.0 = Some(Box::new(Kind::Pong(payload.into())));
    }

    pub fn take_pong(&mut self) -> Option<Box<[u8]>> {
        match self.0.take_if(|kind| matches!(**kind, Kind::Pong(_))).map(|kind| *kind) {
            Some(Kind::Pong(payload)) => Some(payload),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_taken_once_and_for_what_it_is() {
        assert!(!Aside::lazy(b"").is_lazy());
        let mut aside = Aside::lazy(b"begin");
        assert_eq!((aside.is_lazy(), aside.take_pong()), (true, None));
        assert_eq!(aside.take_lazy(), b"begin");
        assert_eq!((aside.is_lazy(), aside.take_lazy()), (false, Vec::new()));

        aside.put_pong(b"one");
        aside.put_pong(b"");
        assert_eq!((aside.is_lazy(), aside.take_lazy()), (false, Vec::new()));
        assert_eq!(aside.take_pong(), Some(Box::default()));
        assert_eq!(aside.take_pong(), None);
    }
}
