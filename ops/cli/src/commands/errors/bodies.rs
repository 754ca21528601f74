//! Where large bodies are.

use std::path::Path;
use std::sync::Arc;

use clap::Args;
use longhaul_core::claim_check::{BodyStore, Directory};

use crate::connect::{System, WITHOUT_S3};
use crate::failure::Failure;

/// What the place of a bucket begins with.
const BUCKET: &str = "s3://";

/// Where the claim check keeps large bodies.
#[derive(Debug, Default, Args)]
pub(crate) struct BodiesArgs {
    /// Where the claim check of the endpoints keeps large bodies: a directory, or a bucket (`s3://BUCKET/PREFIX/`; without a prefix that of
    /// the queues, and `bodies/`)
    #[arg(long, value_name = "PLACE")]
    claim_check: Option<String>,
}

/// A place of bodies.
enum Place<'a> {
    Directory(&'a Path),
    /// Of Amazon S3; without a prefix, that of an endpoint on SQS that sets none.
    Bucket {
        name: &'a str,
        prefix: Option<String>,
    },
}

impl BodiesArgs {
    /// What is wrong without asking anybody.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match self.place()? {
            Some(Place::Bucket { .. }) if !cfg!(feature = "s3") => Err(Failure::misused(WITHOUT_S3)),
            _ => Ok(()),
        }
    }

    /// Opens it, if it was said.
    pub(crate) async fn open(&self, system: &System) -> Result<Option<Arc<dyn BodyStore>>, Failure> {
        Ok(match self.place()? {
            None => None,
            Some(Place::Directory(path)) => {
                let opened = Directory::open(path).map_err(|error| unusable(path, &error.to_string()))?;
                Some(Arc::new(opened))
            }
            Some(Place::Bucket { name, prefix }) => Some(system.bucket(name, prefix.as_deref()).await?),
        })
    }

    fn place(&self) -> Result<Option<Place<'_>>, Failure> {
        let Some(place) = &self.claim_check else {
            return Ok(None);
        };
        let Some(bucket) = place.strip_prefix(BUCKET) else {
            let path = Path::new(place);
            // Opening would make one.
            if !path.is_dir() {
                return Err(unusable(path, "there is no such directory of bodies"));
            }
            return Ok(Some(Place::Directory(path)));
        };
        let (name, prefix) = match bucket.split_once('/') {
            Some((name, prefix)) => (name, Some(folder(prefix))),
            None => (bucket, None),
        };
        if name.is_empty() {
            return Err(Failure::misused(format!(
                "{place}: name the bucket, as s3://BUCKET"
            )));
        }
        Ok(Some(Place::Bucket { name, prefix }))
    }
}

/// What keys begin with: as a folder is named, with a slash at the end, unless that is all of the bucket.
fn folder(prefix: &str) -> String {
    match prefix {
        "" => String::new(),
        folder if folder.ends_with('/') => folder.to_owned(),
        name => format!("{name}/"),
    }
}

fn unusable(path: &Path, why: &str) -> Failure {
    Failure::misused(format!("{}: {why}", path.display()))
}
