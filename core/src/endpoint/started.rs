//! What this process was started for.

/// Names the file of a rehearsal; the `longhaul` command sets it for the programs that it starts.
pub const REHEARSE: &str = "LONGHAUL_REHEARSE";
/// Set where a program is to describe what is in it; the `longhaul` command sets it for the programs that it starts.
pub const DESCRIBE: &str = "LONGHAUL_DESCRIBE";
/// The option that asks for a rehearsal.
pub const REHEARSE_OPTION: &str = "--rehearse";

/// By what it was asked to tell something and not to run, if it was. Whoever asks relies on it that nothing is received and sent.
pub(crate) fn to_tell() -> Option<&'static str> {
    let is_rehearsal = |argument: std::ffi::OsString| {
        let rest = argument
            .to_str()
            .and_then(|text| text.strip_prefix(REHEARSE_OPTION));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    if std::env::args_os().skip(1).any(is_rehearsal) {
        return Some(REHEARSE_OPTION);
    }
    [REHEARSE, DESCRIBE]
        .into_iter()
        .find(|name| std::env::var_os(name).is_some())
}
