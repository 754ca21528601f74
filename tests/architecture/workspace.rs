//! What the rules look at: the crates of the workspace, what they depend on, and their sources.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::{env, fs, io};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The workspace, reduced to what the rules ask for.
#[derive(Debug, Default, Clone)]
pub(crate) struct Workspace {
    pub(crate) members: Vec<Member>,
    /// Names of all packages that a plain `cargo test` compiles.
    pub(crate) default_build: BTreeSet<String>,
}

/// One crate of the workspace.
#[derive(Debug, Default, Clone)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// Relative to the root, with `/`; empty for the façade.
    pub(crate) folder: String,
    pub(crate) uses: Vec<Use>,
    /// Every package below it, at any depth, with all features, without dev-dependencies.
    pub(crate) below: BTreeSet<String>,
    pub(crate) is_default: bool,
    /// Path under `src` and text of each source file.
    pub(crate) sources: BTreeMap<String, String>,
}

/// One entry in a crate's dependencies.
#[derive(Debug, Clone)]
pub(crate) struct Use {
    pub(crate) package: String,
    /// Needed by tests, examples and benches only.
    pub(crate) is_dev: bool,
}

impl Workspace {
    pub(crate) fn load() -> Result<Self, Box<dyn Error>> {
        let full = MetadataCommand::new()
            .manifest_path(Path::new(ROOT).join("Cargo.toml"))
            .other_options(["--all-features".to_owned()])
            .exec()?;
        let members = full.workspace_packages().into_iter().map(|package| {
            let folder = package
                .manifest_path
                .parent()
                .ok_or("a manifest without a folder")?;
            let uses = package.dependencies.iter().map(|dependency| Use {
                package: dependency.name.clone(),
                is_dev: dependency.kind == DependencyKind::Development,
            });
            Ok(Member {
                name: package.name.to_string(),
                folder: folder
                    .strip_prefix(&full.workspace_root)?
                    .as_str()
                    .replace('\\', "/"),
                uses: uses.collect(),
                below: below(&full, &package.id),
                is_default: full.workspace_default_members.contains(&package.id),
                sources: sources(folder.join("src").as_std_path())?,
            })
        });
        let members = members.collect::<Result<Vec<Member>, Box<dyn Error>>>()?;
        Ok(Self {
            members,
            default_build: default_build()?,
        })
    }

    /// The crates in `folder` or in folders of it.
    pub(crate) fn under<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = &'a Member> {
        self.members.iter().filter(move |member| {
            member
                .folder
                .strip_prefix(folder)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    pub(crate) fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }
}

/// For the workspaces that break a rule.
#[cfg(test)]
impl Workspace {
    pub(crate) fn of(members: impl IntoIterator<Item = Member>) -> Self {
        Self {
            members: members.into_iter().collect(),
            ..Self::default()
        }
    }
}

impl Member {
    pub(crate) fn in_folder(folder: &str) -> Self {
        let name = match folder {
            "" => "longhaul".to_owned(),
            folder => format!("longhaul-{}", folder.rsplit('/').next().unwrap_or(folder)),
        };
        Self {
            name,
            folder: folder.to_owned(),
            ..Self::default()
        }
    }

    pub(crate) fn using(mut self, package: &str) -> Self {
        self.below.insert(package.to_owned());
        self.uses.push(Use {
            package: package.to_owned(),
            is_dev: false,
        });
        self
    }

    pub(crate) fn using_in_tests(mut self, package: &str) -> Self {
        self.uses.push(Use {
            package: package.to_owned(),
            is_dev: true,
        });
        self
    }

    pub(crate) fn with_source(mut self, path: &str, text: &str) -> Self {
        self.sources.insert(path.to_owned(), text.to_owned());
        self
    }

    /// Packages that it needs to be built, not those of its tests.
    pub(crate) fn needs(&self) -> impl Iterator<Item = &str> {
        self.uses
            .iter()
            .filter(|a_use| !a_use.is_dev)
            .map(|a_use| a_use.package.as_str())
    }
}

fn below(metadata: &Metadata, top: &PackageId) -> BTreeSet<String> {
    let mut open = vec![top];
    let mut seen = BTreeSet::from([top]);
    while let Some(id) = open.pop() {
        let nodes = metadata.resolve.iter().flat_map(|resolve| &resolve.nodes);
        for edge in nodes.filter(|node| node.id == *id).flat_map(|node| &node.deps) {
            let is_needed = edge
                .dep_kinds
                .iter()
                .any(|info| info.kind != DependencyKind::Development);
            if is_needed && seen.insert(&edge.pkg) {
                open.push(&edge.pkg);
            }
        }
    }
    let packages = metadata
        .packages
        .iter()
        .filter(|package| seen.contains(&package.id));
    packages.map(|package| package.name.to_string()).collect()
}

/// Asks `cargo tree`, since the metadata has the features that all members together want, and a plain build has not.
fn default_build() -> Result<BTreeSet<String>, Box<dyn Error>> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = [
        "tree",
        "--edges=normal,build,dev",
        "--prefix=none",
        "--format={p}",
    ];
    let output = Command::new(cargo).args(arguments).current_dir(ROOT).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let lines = String::from_utf8(output.stdout)?;
    Ok(lines
        .lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect())
}

fn sources(folder: &Path) -> Result<BTreeMap<String, String>, io::Error> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder_now) = open.pop() {
        let entries = match fs::read_dir(&folder_now) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(folder).unwrap_or(&path).display().to_string();
                found.insert(name, fs::read_to_string(&path)?);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_read_as_it_is() {
        let workspace = Workspace::load().expect("failed to read the workspace");
        let facade = workspace.member("longhaul").expect("the façade");
        assert_eq!(facade.folder, "");
        assert!(facade.is_default);
        assert!(facade.below.contains("serde"), "through core");
        assert!(!facade.below.contains("trybuild"), "a dev-dependency");
        assert!(facade.sources.contains_key("lib.rs"));
        let rabbitmq = workspace
            .member("longhaul-rabbitmq")
            .expect("the RabbitMQ transport");
        assert_eq!(rabbitmq.folder, "transports/rabbitmq");
        assert!(rabbitmq.needs().any(|package| package == "lapin"));
        assert!(
            workspace.default_build.contains("trybuild"),
            "a dev-dependency of a default member"
        );
        assert!(workspace.default_build.contains("sled"), "deeper");
        assert_eq!(
            workspace
                .under("transports")
                .filter(|member| member.name == rabbitmq.name)
                .count(),
            1
        );
        assert_eq!(workspace.under("transport").count(), 0);
    }
}
