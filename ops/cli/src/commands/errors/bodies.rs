//! Where large bodies are.

use std::path::PathBuf;

use clap::Args;
use longhaul_core::claim_check::Directory;

use crate::failure::Failure;

/// Where the claim check keeps large bodies.
#[derive(Debug, Default, Args)]
pub(crate) struct BodiesArgs {
    /// The directory in which the claim check of the endpoints keeps large bodies
    #[arg(long, value_name = "DIRECTORY")]
    claim_check: Option<PathBuf>,
}

impl BodiesArgs {
    /// Opening would make one.
    pub(crate) fn open(&self) -> Result<Option<Directory>, Failure> {
        let Some(path) = &self.claim_check else {
            return Ok(None);
        };
        let unusable = |why: &str| Failure::misused(format!("{}: {why}", path.display()));
        if !path.is_dir() {
            return Err(unusable("there is no such directory of bodies"));
        }
        let opened = Directory::open(path).map_err(|error| unusable(&error.to_string()))?;
        Ok(Some(opened))
    }
}
