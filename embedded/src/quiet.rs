//! Keeps the text of a panic that is expected and turned into an error off the standard error stream.

use std::{cell::Cell, panic, sync::Once};

thread_local! {
    static HUSHED: Cell<bool> = const { Cell::new(false) };
}

static HOOK: Once = Once::new();

/// From now on a panic of this thread is written to the log instead. Panics of other threads go where they went.
pub(crate) fn hush() {
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if HUSHED.get() {
                tracing::debug!(%panic, "the engine gave up");
            } else {
                usual(panic);
            }
        }));
    });
    HUSHED.set(true);
}
