//! HTTP/2's frames (RFC 9113, section 4), as far as these clients send and understand them.

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const NO_ERROR: u32 = 0;

pub(crate) const NO_FLAG: u8 = 0;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// The connection's stream.
pub(crate) const CONNECTION: u32 = 0;

/// The length of a frame's head.
const HEAD: usize = 9;

#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// Takes the first frame out of the buffer, if it is there whole.
    pub(crate) fn take(buffer: &mut Vec<u8>) -> Option<Self> {
        let head = buffer.get(..HEAD)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (kind, flags) = (head[3], head[4]);
        let stream = number(&head[5..])?;
        if buffer.len() < HEAD + length {
            return None;
        }
        let payload = buffer.drain(..HEAD + length).skip(HEAD).collect();
        Some(Frame {
            kind,
            flags,
            stream,
            payload,
        })
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The error that a RST_STREAM gives, or a GOAWAY behind the last stream.
    pub(crate) fn error(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        let error = self.payload.get(at..).and_then(number);
        error.unwrap_or(NO_ERROR)
    }
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

pub(crate) fn window_update(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, NO_FLAG, stream, &by.to_be_bytes())
}

/// SETTINGS with the window that each stream begins with.
pub(crate) fn initial_window(size: u32) -> Vec<u8> {
    const INITIAL_WINDOW_SIZE: [u8; 2] = [0, 4];
    let setting = [&INITIAL_WINDOW_SIZE[..], &size.to_be_bytes()].concat();
    frame(SETTINGS, NO_FLAG, CONNECTION, &setting)
}

/// A request's header block (RFC 7541): fields of the static table, and literals that are in no table.
pub(crate) fn block(method: Method, path: &str) -> Vec<u8> {
    const SCHEME_HTTP: u8 = 0x86;
    const PATH_LITERAL: u8 = 4;
    const AUTHORITY_LITERAL: u8 = 1;
    let literal = |name: u8, value: &str| {
        let mut field = vec![name, value.len() as u8];
        field.extend(value.as_bytes());
        field
    };
    [
        vec![method as u8, SCHEME_HTTP],
        literal(PATH_LITERAL, path),
        literal(AUTHORITY_LITERAL, "localhost"),
    ]
    .concat()
}

/// As the static table has it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Method {
    Get = 0x82,
    Post = 0x83,
}

fn number(bytes: &[u8]) -> Option<u32> {
    const RESERVED: u32 = 1 << 31;
    let bytes = bytes.first_chunk()?;
    Some(u32::from_be_bytes(*bytes) & !RESERVED)
}
