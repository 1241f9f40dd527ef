//! Every metric that pgwicket exports, described once; and their Prometheus recorder.

use std::fmt;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// Upper bounds of the latency histograms. Unit: seconds.
const SECONDS: [f64; 16] = [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

const COUNTERS: [(&str, &str); 13] = [
    ("pgwicket_connections_total", "client connections accepted from the network"),
    (
        "pgwicket_connections_refused_total",
        "client connections refused before a session, by sqlstate; none: closed unanswered, too many at once",
    ),
    ("pgwicket_sessions_total", "client connections that authenticated"),
    ("pgwicket_cancel_requests_total", "cancel requests received, by whether their key matched"),
    ("pgwicket_statements_total", "statements by decision: forwarded, refused"),
    ("pgwicket_rows_total", "rows forwarded to clients"),
    ("pgwicket_row_bytes_total", "bytes of DataRow messages forwarded to clients"),
    ("pgwicket_pool_connects_total", "upstream connections opened, by source and lane"),
    ("pgwicket_pool_failures_total", "attempts to open an upstream connection that failed, by source and lane"),
    ("pgwicket_journal_entries_total", "evidence entries written, by lane"),
    ("pgwicket_journal_bytes_total", "bytes of evidence written, by lane"),
    ("pgwicket_journal_errors_total", "evidence that could not be written or synced, by lane"),
    ("pgwicket_policy_reloads_total", "policy loads, by result: ok, error"),
];

const GAUGES: [(&str, &str); 11] = [
    ("pgwicket_sessions", "client sessions now"),
    ("pgwicket_pool_idle", "upstream connections that wait for a session, by source and lane"),
    ("pgwicket_pool_in_use", "upstream connections that a statement or transaction holds, by source and lane"),
    ("pgwicket_pool_kept", "of those in use, the ones that cursors WITH HOLD keep between transactions, by source and lane"),
    ("pgwicket_pool_waiting", "sessions that wait for an upstream connection, by source and lane"),
    ("pgwicket_lane_plans", "governed statements in the plan cache, by lane"),
    ("pgwicket_journal_unsynced_bytes", "bytes of evidence that a power loss now would take, by lane"),
    ("pgwicket_policy_epoch", "epoch of the policy in force; 0 is none"),
    ("pgwicket_source_reachable", "whether a source answered last, by source: 1, 0"),
    ("pgwicket_source_drift", "places where a source is no longer what the policy in force needs, by source"),
    ("pgwicket_build_info", "always 1; the label has the version"),
];

const HISTOGRAMS: [(&str, &str); 2] = [
    ("pgwicket_statement_seconds", "time from a forwarded statement's decision to its end"),
    ("pgwicket_journal_sync_seconds", "time of one sync of a lane's journal"),
];

/// The recorder that all rooms' metrics go to.
#[derive(Clone)]
pub struct Recorder(PrometheusHandle);

impl Recorder {
    /// Makes the process's recorder. Fails when there is one already.
    pub fn install() -> Result<Self, BuildError> {
        let recorder = Self(builder()?.install_recorder()?);
        describe();
        metrics::gauge!("pgwicket_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        Ok(recorder)
    }

    /// A recorder of its own, for tests.
    #[cfg(test)]
    pub(super) fn local() -> Self {
        Self(builder().unwrap().build_recorder().handle())
    }

    /// The metrics in Prometheus' text format.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Folds histogram samples together; call it every few seconds, or they pile up while nobody scrapes.
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
}

fn describe() {
    for (name, text) in COUNTERS {
        metrics::describe_counter!(name, text);
    }
    for (name, text) in GAUGES {
        metrics::describe_gauge!(name, text);
    }
    for (name, text) in HISTOGRAMS {
        metrics::describe_histogram!(name, metrics::Unit::Seconds, text);
    }
}
