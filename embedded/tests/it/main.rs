//! Situations of a whole database: opening, committing, damage, a full disk and sudden death.

#[cfg(test)]
mod committing;
#[cfg(test)]
mod damage;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod disk_full;
#[cfg(test)]
mod killing;
#[cfg(test)]
mod opening;
#[cfg(test)]
mod support;
