//! Leases, fencing and reports.
