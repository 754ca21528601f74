//! Sagas for Longhaul: correlation, timeouts, compensation, versioned state.
