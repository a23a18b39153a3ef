//! What a server speaks.

use std::fmt;

use serde::Serialize;

/// What a server speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Speaks {
    /// TLS.
    pub tls: bool,
    /// HTTP/1.1.
    pub http1: bool,
    /// HTTP/2: by prior knowledge, or by ALPN with TLS.
    pub http2: bool,
}

impl fmt::Display for Speaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let versions = match (self.http1, self.http2) {
            (true, true) => "HTTP/1.1 and HTTP/2",
            (true, false) => "HTTP/1.1",
            (false, true) => "HTTP/2",
            (false, false) => "nothing",
        };
        f.write_str(versions)?;
        if self.tls {
            f.write_str(", with TLS")?;
        }
        Ok(())
    }
}
