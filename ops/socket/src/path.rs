//! Where the socket lies, also where that path is longer than the address of a socket may be.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::socket_error::{SocketError, SocketErrorKind};

/// The name of the socket in the data directory.
pub(crate) const NAME: &str = "longhaul.socket";
/// An address of a socket holds 108 bytes on Linux and 104 elsewhere, with a zero at the end.
const ADDRESS_BYTES: usize = 100;

/// A path that fits into an address, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Address {
    path: PathBuf,
    _directory: Option<File>,
}

impl Address {
    /// Of the socket called `name` in `directory`.
    pub(crate) fn of(directory: &Path, name: &str) -> Result<Self, SocketError> {
        let path = directory.join(name);
        if path.as_os_str().as_bytes().len() <= ADDRESS_BYTES {
            return Ok(Self {
                path,
                _directory: None,
            });
        }
        // Linux names open files: a directory that is open has a short path there.
        let open = File::open(directory)
            .map_err(|error| SocketError::io(format!("open {}", directory.display()), error))?;
        let own = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
        if !own.is_dir() {
            let text = format!(
                "use {}: a socket's path has at most {ADDRESS_BYTES} bytes on this system; use a shorter directory",
                path.display()
            );
            return Err(SocketError::new(SocketErrorKind::TooLong, text));
        }
        Ok(Self {
            path: own.join(name),
            _directory: Some(open),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}
