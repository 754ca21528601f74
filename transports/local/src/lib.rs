//! The embedded broker of Longhaul: queues, publish/subscribe and delays in one process, durable or in memory.
