//! The receiving half of a WebSocket: a client's bytes in, events out.
//!
//! A frame that lies whole in the input is unmasked there and given as a slice of it. Only what is unfinished when the
//! input ends is kept: less than a header, less than a control frame, and at most [`CHUNK`](super::CHUNK) of a message.
//!
//! ```text
//!            ┌──────────────► Header ◄─────────────┐
//!   ping, pong            │          │            a data frame's last byte
//!            └── Control ◄┘          └► Data ──────┘
//!                   │ close
//!                   └──► Over ◄── any error, from every state
//! ```

use std::ops::ControlFlow;

use super::frame::{Context, Header, MAX_HEADER, Payload};
use super::inflate::{self, Inflater};
use super::kept::Kept;
use super::message::{Message, Sink};
use super::names::{Control, Data, OpCode};
use super::{Agreement, Error, Event, Kind, Options, close};

/// How many compressed bytes are unmasked at once: what does not find room in the output has been unmasked in vain.
const MAX_STEP: usize = 16 * 1024;

/// The receiving half of one WebSocket. Idle, it holds no more than what the next compressed message may refer to.
pub struct Decoder {
    options: Options,
    /// There if compression has been negotiated.
    compression: Option<Box<Compression>>,
    state: State,
    /// The beginning of an unfinished header or of an unfinished control frame's unmasked payload.
    partial: Kept,
    /// The message of which the first header has been read and not the last byte.
    message: Option<Message>,
}

struct Compression {
    inflater: Inflater,
    /// Each frame of a message says for itself whether it is compressed, and is compressed for itself.
    per_frame: bool,
}

/// Where in the byte stream the next byte stands.
#[derive(Clone, Copy)]
enum State {
    Header,
    Control(Control, Payload),
    /// In a frame of `Decoder::message`.
    Data(Payload),
    Over,
}

/// How many bytes a step used, and whether another step may follow now.
type Step = Result<(usize, ControlFlow<()>), Error>;

impl Decoder {
    /// A decoder for the beginning of a connection.
    pub fn new(options: Options, agreement: Option<&Agreement>) -> Decoder {
        Decoder {
            options,
            compression: agreement.map(|agreement| {
                Box::new(Compression { inflater: Inflater::new(agreement), per_frame: agreement.per_frame })
            }),
            state: State::Header,
            partial: Kept::default(),
            message: None,
        }
    }

    /// Decodes `input` and gives its events to `sink`, in order. Says how many bytes of `input` it used; it unmasks
    /// those in place, and leaves the others as they are for the caller to give again.
    ///
    /// It stops early when the sink breaks, having taken the event. More events may then wait inside, so after a break it
    /// is to be called again even if all input was used. After a close frame or an error all input is used and ignored.
    pub fn decode(
        &mut self,
        input: &mut [u8],
        sink: &mut impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<usize, Error> {
        let mut at = 0;
        loop {
            match self.step(&mut input[at..], sink) {
                Ok((used, flow)) => {
                    at += used;
                    if flow.is_break() {
                        break;
                    }
                }
                Err(error) => {
                    self.end();
                    return Err(error);
                }
            }
        }
        if let Some(message) = &mut self.message {
            message.trim();
        }
        Ok(at)
    }

    /// Sets the limit for the frames and the inflated bytes to come.
    pub fn set_max_frame_size(&mut self, max: u64) {
        self.options.max_frame_size = max;
    }

    /// Sets how many frames a message may have.
    pub fn set_max_fragments(&mut self, max: u32) {
        self.options.max_fragments = max;
    }

    /// Where it is: so many bytes before the next header, or behind this part of one.
    pub fn place(&self) -> (u64, &[u8]) {
        match self.state {
            State::Header => (0, &self.partial),
            State::Control(_, frame) | State::Data(frame) => (frame.left, &[]),
            State::Over => (0, &[]),
        }
    }

    fn step(&mut self, input: &mut [u8], sink: &mut impl Sink) -> Step {
        match self.state {
            State::Header => self.header(input),
            State::Control(control, frame) => self.control(control, frame, input, sink),
            State::Data(frame) => self.data(frame, input, sink),
            State::Over => Ok((input.len(), ControlFlow::Break(()))),
        }
    }

    fn is_per_frame(&self) -> bool {
        self.compression.as_ref().is_some_and(|compression| compression.per_frame)
    }

    fn header(&mut self, input: &[u8]) -> Step {
        let context = Context {
            deflate: self.compression.is_some(),
            message: self.message.as_ref().map(|message| message.compressed || self.is_per_frame()),
        };
        if self.partial.is_empty() {
            let Some((header, size)) = Header::parse(input, context)? else {
                self.partial.extend_from_slice(input);
                return Ok((input.len(), ControlFlow::Break(())));
            };
            self.begin(header)?;
            return Ok((size, ControlFlow::Continue(())));
        }
        let had = self.partial.len();
        let more = input.len().min(MAX_HEADER - had);
        self.partial.extend_from_slice(&input[..more]);
        let Some((header, size)) = Header::parse(&self.partial, context)? else {
            return Ok((more, ControlFlow::Break(())));
        };
        self.partial = Kept::default();
        self.begin(header)?;
        // `had` bytes were not a header, so it is longer.
        Ok((size - had, ControlFlow::Continue(())))
    }

    fn begin(&mut self, header: Header) -> Result<(), Error> {
        let max = self.options.max_frame_size;
        if header.length > max {
            return Err(Error::LongFrame { size: header.length, max });
        }
        let frame = header.payload();
        let kind = match header.opcode {
            OpCode::Control(control) => {
                self.state = State::Control(control, frame);
                return Ok(());
            }
            OpCode::Data(Data::Text) => Kind::Text,
            OpCode::Data(_) => Kind::Binary,
        };
        // A continuation belongs to the message that is there, everything else begins one: `Header::parse` saw to that.
        let per_frame = self.is_per_frame();
        let message = self.message.get_or_insert_with(|| Message::new(kind, header.rsv1));
        if per_frame {
            message.compressed = header.rsv1;
        }
        message.count_fragment(self.options.max_fragments)?;
        if !message.compressed {
            message.allow(header.length, &self.options)?;
        }
        self.state = State::Data(frame);
        Ok(())
    }

    fn control(&mut self, control: Control, mut frame: Payload, input: &mut [u8], sink: &mut impl Sink) -> Step {
        let piece = frame.unmask(input);
        let used = piece.len();
        if frame.left > 0 {
            self.partial.extend_from_slice(piece);
            if control == Control::Close {
                close::parse(&self.partial, false, self.options.validate_utf8)?;
            }
            self.state = State::Control(control, frame);
            return Ok((used, ControlFlow::Break(())));
        }
        let mut gathered = self.partial.take();
        let payload: &[u8] = if gathered.is_empty() {
            piece
        } else {
            gathered.extend_from_slice(piece);
            &gathered
        };
        self.state = State::Header;
        let event = match control {
            Control::Ping => Event::Ping(payload),
            Control::Pong => Event::Pong(payload),
            // The reserved ones do not pass `Header::parse`.
            Control::Close | Control::Reserved(_) => {
                let event = Event::Close(close::parse(payload, true, self.options.validate_utf8)?);
                self.end();
                event
            }
        };
        let flow = sink(event);
        // What follows a close frame is used up by the step after it.
        Ok((used, if matches!(self.state, State::Over) { ControlFlow::Continue(()) } else { flow }))
    }

    fn data(&mut self, frame: Payload, input: &mut [u8], sink: &mut impl Sink) -> Step {
        // A data frame always has its message: `begin` made it, and only the last byte of the last frame takes it away.
        match &self.message {
            Some(message) if message.compressed => self.deflated(frame, input, sink),
            Some(_) => self.plain(frame, input, sink),
            None => Ok((0, ControlFlow::Break(()))),
        }
    }

    fn plain(&mut self, mut frame: Payload, input: &mut [u8], sink: &mut impl Sink) -> Step {
        let Some(message) = &mut self.message else { return Ok((0, ControlFlow::Break(()))) };
        if frame.left > 0 && message.room() == 0 && message.flush(sink).is_break() {
            return Ok((0, ControlFlow::Break(())));
        }
        let available = input.len().min(message.room());
        let piece = frame.unmask(&mut input[..available]);
        let used = piece.len();
        let last = frame.fin && frame.left == 0;
        message.check(piece, last, &self.options)?;
        let flow = if last {
            self.message.take().map_or(ControlFlow::Break(()), |message| message.end(piece, sink))
        } else {
            message.add(piece, frame.left, sink)
        };
        if frame.left == 0 {
            self.state = State::Header;
            return Ok((used, flow));
        }
        self.state = State::Data(frame);
        Ok((used, if used == input.len() { ControlFlow::Break(()) } else { flow }))
    }

    fn deflated(&mut self, mut frame: Payload, input: &mut [u8], sink: &mut impl Sink) -> Step {
        let (Some(message), Some(compression)) = (&mut self.message, &mut self.compression) else {
            return Ok((0, ControlFlow::Break(())));
        };
        let Compression { inflater, per_frame } = &mut **compression;
        let available = input.len().min(MAX_STEP);
        let piece = frame.unmask(&mut input[..available]);
        let ends = frame.fin || *per_frame;
        let last = ends && frame.left == 0;
        // Where there is no room, one byte shows whether the message goes on. The allowance is never 0.
        let room = message.allowance(&self.options).min(message.room().max(1) as u64) as usize;
        let mut output = inflate::Output::take();
        let fed = inflater.feed(piece, last, &mut output[..room])?;
        frame.give_back(&mut piece[fed.used..]);
        let inflated = &output[..fed.made];
        message.check(inflated, false, &self.options)?;
        if inflated.len() > message.room() && message.flush(sink).is_break() {
            // The end of the frame, if this was it, is seen again by the next step.
            self.state = State::Data(frame);
            message.keep(inflated);
            return Ok((fed.used, ControlFlow::Break(())));
        }

        let done = fed.drained && frame.left == 0;
        if done && ends {
            inflater.end()?;
        }
        let flow = if done && frame.fin {
            message.check(&[], true, &self.options)?;
            self.message.take().map_or(ControlFlow::Break(()), |message| message.end(inflated, sink))
        } else {
            message.add(inflated, 0, sink)
        };
        self.state = if done { State::Header } else { State::Data(frame) };
        let starved = fed.drained && !done && fed.used == input.len();
        Ok((fed.used, if starved { ControlFlow::Break(()) } else { flow }))
    }

    /// Nothing comes any more: frees everything.
    fn end(&mut self) {
        self.state = State::Over;
        self.partial = Kept::default();
        self.message = None;
        self.compression = None;
    }
}

#[cfg(test)]
mod tests;
