//! What this thread logs, and with it this test.
//!
//! One subscriber for all: tracing remembers for each line of code whether anybody listened to it, so a subscriber a thread
//! would miss lines that another thread was the first to come to.

// Each test file is a crate of its own.
#![allow(unreachable_pub)]

use std::cell::RefCell;
use std::io::{Result, Write};
use std::sync::Once;

thread_local! { static LOGGED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) } }

struct Writer;

impl Write for Writer {
    fn write(&mut self, text: &[u8]) -> Result<usize> {
        LOGGED.with_borrow_mut(|logged| logged.write(text))
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

pub fn capture() {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .with_writer(|| Writer)
            .init();
    });
    LOGGED.take();
}

pub fn lines() -> Vec<String> {
    let text = String::from_utf8(LOGGED.take()).unwrap();
    text.lines().map(|line| line.trim().to_owned()).collect()
}
