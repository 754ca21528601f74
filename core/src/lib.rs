//! Messages, headers, the transport and store seams, the pipeline and the endpoint of Longhaul.
