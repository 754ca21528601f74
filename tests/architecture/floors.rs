//! Arrows point down only: a crate needs crates of lower floors, never of its own or above.

use crate::workspace::{Member, Workspace};

/// Folder and floor. A folder that ends with `/` stands for each crate in it.
const FLOORS: [(&str, u8); 19] = [
    ("core", 0),
    ("macros", 0),
    ("embedded", 0),
    ("sagas", 1),
    ("ops/record", 1),
    ("ops/socket", 2),
    ("host", 2),
    ("transports/", 1),
    ("persistence/", 1),
    ("testing", 2),
    ("simulation", 3),
    ("simulation/", 3),
    ("ops/model", 3),
    ("", 4),
    ("ops/cli", 4),
    ("ops/dashboard", 4),
    ("benches", 5),
    ("fuzz", 5),
    ("xtask", 5),
];

/// Derives must be made in a crate of their own; core passes them on.
const EXCEPTION: (&str, &str) = ("longhaul-core", "longhaul-macros");

pub(crate) fn faults(workspace: &Workspace) -> Vec<String> {
    let mut faults = Vec::new();
    for member in &workspace.members {
        let Some(floor) = floor(member) else {
            faults.push(format!(
                "{}: the folder `{}` has no floor: give it one",
                member.name, member.folder
            ));
            continue;
        };
        for used in member.needs().filter_map(|package| workspace.member(package)) {
            let is_lower = self::floor(used).is_some_and(|other| other < floor);
            if !is_lower && (member.name.as_str(), used.name.as_str()) != EXCEPTION {
                faults.push(format!(
                    "{} must not depend on {}: it is not on a lower floor",
                    member.name, used.name
                ));
            }
        }
    }
    faults
}

pub(crate) fn direct_users_of_the_macros(workspace: &Workspace) -> Vec<String> {
    let (core, macros) = EXCEPTION;
    let users = workspace.members.iter().filter(|member| member.name != core);
    let users = users.filter(|member| member.uses.iter().any(|a_use| a_use.package == macros));
    users
        .map(|member| format!("{} must use the derives through {core}", member.name))
        .collect()
}

fn floor(member: &Member) -> Option<u8> {
    let of_folder = |folder: &str| match folder.strip_suffix('/') {
        None => member.folder == folder,
        Some(parent) => member
            .folder
            .rsplit_once('/')
            .is_some_and(|(above, _)| above == parent),
    };
    FLOORS
        .iter()
        .find(|(folder, _)| of_folder(folder))
        .map(|(_, floor)| *floor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault_of(members: [Member; 2]) -> String {
        faults(&Workspace::of(members)).join("; ")
    }

    #[test]
    fn lower_floors_may_be_used() {
        let sagas = Member::in_folder("sagas").using("longhaul-core").using("serde");
        let core = Member::in_folder("core").using("longhaul-macros");
        let macros = Member::in_folder("macros");
        assert_eq!(
            faults(&Workspace::of([sagas, core, macros])),
            Vec::<String>::new()
        );
    }

    #[test]
    fn an_arrow_up_is_a_fault() {
        let up = [
            Member::in_folder("core").using("longhaul-sagas"),
            Member::in_folder("sagas"),
        ];
        assert!(fault_of(up).contains("longhaul-core must not depend on longhaul-sagas"));
    }

    #[test]
    fn an_arrow_sideways_is_a_fault() {
        let sideways = [
            Member::in_folder("sagas").using("longhaul-local"),
            Member::in_folder("transports/local"),
        ];
        assert!(fault_of(sideways).contains("longhaul-sagas must not depend on longhaul-local"));
        let sideways = [
            Member::in_folder("embedded").using("longhaul-core"),
            Member::in_folder("core"),
        ];
        assert!(fault_of(sideways).contains("longhaul-embedded must not depend on longhaul-core"));
        let sideways = [
            Member::in_folder("ops/cli").using("longhaul"),
            Member::in_folder(""),
        ];
        assert!(fault_of(sideways).contains("longhaul-cli must not depend on longhaul"));
    }

    #[test]
    fn tests_may_use_every_floor() {
        let upwards = [
            Member::in_folder("transports/local").using_in_tests("longhaul-testing"),
            Member::in_folder("testing"),
        ];
        assert_eq!(fault_of(upwards), "");
    }

    #[test]
    fn a_folder_without_a_floor_is_a_fault() {
        let strangers = [
            Member::in_folder("helpers"),
            Member::in_folder("transports/local/parts"),
        ];
        let told = fault_of(strangers);
        assert!(
            told.contains("`helpers` has no floor") && told.contains("`transports/local/parts` has no floor")
        );
    }

    #[test]
    fn the_macros_used_past_core_are_a_fault() {
        let members = [
            Member::in_folder("core").using("longhaul-macros"),
            Member::in_folder("").using("longhaul-macros"),
        ];
        let told = direct_users_of_the_macros(&Workspace::of(members));
        assert_eq!(told, ["longhaul must use the derives through longhaul-core"]);
    }
}
