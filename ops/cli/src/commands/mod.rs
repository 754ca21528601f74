//! The commands.

pub(crate) mod delays;
pub(crate) mod demo;
mod describe;
mod doctor;
pub(crate) mod errors;
pub(crate) mod extras;
mod operate;
pub(crate) mod outbox;
pub(crate) mod sagas;
pub(crate) mod stored;

use std::process::ExitCode;

use self::sagas::SagasCommand;
use crate::args::{Command, Options};
use crate::connect::System;
use crate::failure::Failure;

/// Does what was asked for.
pub(crate) async fn run(options: &Options) -> Result<ExitCode, Failure> {
    match &options.command {
        Command::Completions { shell } => extras::completions(*shell),
        Command::Man { directory } => extras::man(directory),
        Command::Errors(command) => {
            let command = errors::checked(command)?;
            let prepared = errors::prepare(&options.connection, command).await?;
            let system = System::connect(&options.connection).await?;
            let done = errors::run(&system, command, prepared, options.connection.json).await;
            ended(system, done).await
        }
        Command::Sagas(SagasCommand::Diagram(args)) if args.states => {
            sagas::states(args, options.connection.json).await
        }
        Command::Sagas(command) => {
            // What is told to an endpoint does not need its store.
            let system = match command.tells() {
                true => System::connect(&options.connection).await?,
                false => System::connect_with_store(&options.connection).await?,
            };
            let done = sagas::sagas(&system, command, options.connection.json).await;
            ended(system, done).await
        }
        Command::Timeouts(command) => {
            let system = System::connect_with_store(&options.connection).await?;
            let done = stored::timeouts(&system, command, options.connection.json).await;
            ended(system, done).await
        }
        Command::Demo(args) => demo::run(args, &options.connection).await,
        Command::Outbox(command) => {
            let system = System::connect_with_store(&options.connection).await?;
            let done = stored::outbox(&system, command, options.connection.json).await;
            ended(system, done).await
        }
        Command::Delays(command) => {
            delays::checked(command)?;
            let system = System::connect(&options.connection).await?;
            let done = delays::run(&system, command, &options.connection).await;
            ended(system, done).await
        }
        Command::Doctor => {
            let json = options.connection.json;
            match System::connect(&options.connection).await {
                Ok(system) => {
                    let done = doctor::run(&system, json).await;
                    ended(system, done).await
                }
                Err(failure) => doctor::unreachable(failure, json),
            }
        }
        Command::Queues(command) => {
            let system = System::connect(&options.connection).await?;
            let done = extras::depths(&system, command, options.connection.json).await;
            ended(system, done).await
        }
    }
}

/// What was done counts more than how the connection ended.
async fn ended(system: System, done: Result<ExitCode, Failure>) -> Result<ExitCode, Failure> {
    let closed = system.close().await;
    let code = done?;
    closed.map(|()| code)
}
