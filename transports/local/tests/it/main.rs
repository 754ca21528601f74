//! Situations of a whole broker: the contract of transports, what only this one does, restarts and sudden death.

#[cfg(test)]
mod claim_check;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod durable;
#[cfg(test)]
mod in_memory;
#[cfg(test)]
mod killing;
#[cfg(test)]
mod support;
