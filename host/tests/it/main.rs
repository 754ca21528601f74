//! A host from start to stop, and what it tells the world.

#[cfg(test)]
mod host;
#[cfg(test)]
#[cfg(feature = "otlp")]
mod otlp;
