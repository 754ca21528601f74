//! The savings account with its bug; see `account.rs`, and docs/guide/operating.md for how it is tried.

mod account;

#[tokio::main]
async fn main() -> std::process::ExitCode {
    account::run::<false>().await
}
