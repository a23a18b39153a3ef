//! The file in which a server notes each request before it does anything else with it.
//!
//! It outlives the server, however that ends: what is in it and was not answered is a handler that ran for nobody.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// The server's side.
pub(crate) struct Entered(File);

impl Entered {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Entered(file))
    }

    /// One write(2) of a line that is as long as all the others, at the end of the file whoever else writes.
    pub(crate) fn note(&self, id: u64) -> io::Result<()> {
        (&self.0).write_all(format!("{id:016x}\n").as_bytes())
    }
}

/// The requests that one server's handlers began.
#[derive(Debug, Default)]
pub(crate) struct Began {
    pub(crate) ids: BTreeSet<u64>,
    /// Requests that came to a handler twice: handed back to the client as unsent, but they were not.
    pub(crate) twice: Vec<u64>,
}

impl Began {
    /// Those of another server.
    pub(crate) fn add(&mut self, mut other: Began) {
        self.twice.extend(self.ids.intersection(&other.ids));
        self.twice.append(&mut other.twice);
        self.ids.append(&mut other.ids);
    }

    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let mut began = Began::default();
        for line in text.lines() {
            let id = u64::from_str_radix(line, 16).map_err(|_| format!("not an id: {line:?}"))?;
            if !began.ids.insert(id) {
                began.twice.push(id);
            }
        }
        Ok(began)
    }
}
