//! The terminal as a progress bar sees it: a few columns narrower than it is.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use indicatif::TermLike;
use terminal_size::{Height, Width, terminal_size_of};

/// What is left free at the end of a line: a terminal shows `^C` there, and a line that it has to break can't be wiped away.
const FREE: u16 = 3;

/// Standard error. What is drawn at a time is written at once.
#[derive(Debug, Default)]
pub(crate) struct Narrow {
    drawn: Mutex<String>,
}

impl Narrow {
    /// How many columns can be drawn in, and how many rows there are.
    fn size() -> (u16, u16) {
        let (Width(columns), Height(rows)) =
            terminal_size_of(io::stderr()).unwrap_or((Width(80), Height(24)));
        (columns.saturating_sub(FREE).max(1), rows.max(1))
    }

    /// How many columns can be drawn in.
    pub(crate) fn columns() -> u16 {
        Self::size().0
    }

    fn draw(&self, text: fmt::Arguments<'_>) -> io::Result<()> {
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        drawn.write_fmt(text).map_err(io::Error::other)
    }

    fn steer(&self, code: char, times: usize) -> io::Result<()> {
        if times == 0 {
            return Ok(());
        }
        self.draw(format_args!("\u{1b}[{times}{code}"))
    }
}

impl TermLike for Narrow {
    fn width(&self) -> u16 {
        Self::size().0
    }

    fn height(&self) -> u16 {
        Self::size().1
    }

    fn move_cursor_up(&self, lines: usize) -> io::Result<()> {
        self.steer('A', lines)
    }

    fn move_cursor_down(&self, lines: usize) -> io::Result<()> {
        self.steer('B', lines)
    }

    fn move_cursor_right(&self, columns: usize) -> io::Result<()> {
        self.steer('C', columns)
    }

    fn move_cursor_left(&self, columns: usize) -> io::Result<()> {
        self.steer('D', columns)
    }

    fn write_line(&self, line: &str) -> io::Result<()> {
        self.draw(format_args!("{line}\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.draw(format_args!("{text}"))
    }

    fn clear_line(&self) -> io::Result<()> {
        self.draw(format_args!("\r\u{1b}[2K"))
    }

    fn flush(&self) -> io::Result<()> {
        let drawn = std::mem::take(&mut *self.drawn.lock().unwrap_or_else(PoisonError::into_inner));
        let mut out = io::stderr().lock();
        out.write_all(drawn.as_bytes())?;
        out.flush()
    }
}
