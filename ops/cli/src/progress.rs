//! How far an action is, for whoever watches it on a terminal.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicUsize, Ordering};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use longhaul_ops::errors::Progress;

use crate::terminal::Narrow;

/// What fits into a line of at least so many columns, with a word of ten letters and numbers of up to eight digits.
const FORMS: [(u16, &str); 4] = [
    (60, "{msg} [{wide_bar}] {pos}/{len}  {rate}  {eta} left"),
    (36, "{msg} [{wide_bar}] {pos}/{len}"),
    (17, "{pos}/{len}"),
    (0, "{percent}%"),
];

/// A line that says how far it is, on a terminal only, and no wider than that.
pub(crate) struct Bar {
    bar: ProgressBar,
    /// Which form it has; none yet if there is none of that number.
    form: AtomicUsize,
}

impl Bar {
    /// A bar for something that is going on.
    pub(crate) fn new(doing: &'static str) -> Self {
        let bar = Self {
            bar: ProgressBar::hidden().with_message(doing),
            form: AtomicUsize::new(usize::MAX),
        };
        if io::stderr().is_terminal() {
            bar.fit();
            bar.bar.set_draw_target(ProgressDrawTarget::term_like_with_hz(
                Box::new(Narrow::default()),
                10,
            ));
        }
        bar
    }

    /// Shows how far it is.
    pub(crate) fn show(&self, progress: Progress) {
        if self.bar.is_hidden() {
            return;
        }
        self.fit();
        self.bar.set_length(progress.expected);
        self.bar.set_position(progress.seen.min(progress.expected));
    }

    /// Takes the form that fits: a terminal may be made narrower meanwhile.
    fn fit(&self) {
        let number = form(Narrow::columns());
        if self.form.swap(number, Ordering::Relaxed) == number {
            return;
        }
        let template = FORMS.get(number).map_or("", |(_, template)| template);
        if let Ok(style) = ProgressStyle::with_template(template) {
            let rate = |state: &ProgressState, text: &mut dyn std::fmt::Write| {
                // It can't be shown where it can't be written.
                text.write_fmt(format_args!("{:.0}/s", state.per_sec()))
                    .unwrap_or_default();
            };
            self.bar
                .set_style(style.with_key("rate", rate).progress_chars("=> "));
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The number of the form for so many columns.
fn form(columns: u16) -> usize {
    let fits = FORMS.iter().position(|(least, _)| columns >= *least);
    fits.unwrap_or(FORMS.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_a_terminal_is_narrow_the_line_says_less_and_is_not_broken() {
        for columns in 4..300 {
            let line = FORMS[form(columns)]
                .1
                .replace("{msg}", "discarding")
                .replace("{wide_bar}", "")
                .replace("{pos}", "12345678")
                .replace("{len}", "12345678")
                .replace("{rate}", "1234567/s")
                .replace("{eta}", "12m")
                .replace("{percent}", "100");
            assert!(
                line.len() <= usize::from(columns),
                "{line:?} at {columns} columns"
            );
        }
    }
}
