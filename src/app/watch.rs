//! What makes the policy be read again: SIGHUP, a change of its files, a source that was away, a source whose catalog has changed.

use std::{path::Path, sync::Arc, time::Duration};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Notify,
    time,
};

use super::{
    certificate::Certificate,
    keeper::{Keeper, Reload, ReloadError},
};

/// Editors and tools write a file in several steps; the policy is read once they are done.
const SETTLE: Duration = Duration::from_millis(300);

/// Wait before a source that was away is asked again: the first, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Keeps the policy in force until the process ends.
pub(super) async fn watch(mut keeper: Keeper, certificate: Option<Certificate>, path: &Path, catalogs: Arc<Notify>, mut pending: bool) {
    let changed = Arc::new(Notify::new());
    let _watcher = watcher(path, Arc::clone(&changed));
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => return tracing::error!(%error, "SIGHUP cannot be received; the policy is not reloaded"),
    };
    let mut wait = RETRY.0;
    loop {
        let reload = tokio::select! {
            received = hangup.recv() => {
                if received.is_none() {
                    return;
                }
                tracing::info!("SIGHUP: reading policies and certificate again");
                if let Some(certificate) = &certificate {
                    certificate.reload();
                }
                Reload::Always
            }
            () = changed.notified() => {
                time::sleep(SETTLE).await;
                Reload::WhenChanged
            }
            () = catalogs.notified() => Reload::Always,
            () = time::sleep(wait), if pending => Reload::Always,
        };
        match keeper.reload(reload).await {
            Ok(()) => (pending, wait) = (false, RETRY.0),
            Err(error) => {
                pending = error.is_transient();
                wait = (wait * 2).min(RETRY.1);
                report(&error, pending);
            }
        }
    }
}

/// Each finding is an event of its own.
pub(super) fn report(error: &ReloadError, retrying: bool) {
    for finding in error.findings() {
        tracing::error!(retrying, "policy not put in force: {finding}");
    }
}

/// Watches the directory of the policy. Without a watch there is still SIGHUP.
fn watcher(path: &Path, changed: Arc<Notify>) -> Option<RecommendedWatcher> {
    let directory =
        if path.is_dir() { path } else { path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")) };
    let on_event = move |event: notify::Result<notify::Event>| {
        // Reading the files is an event too, and must not cause the next reading.
        if event.is_ok_and(|event| !event.kind.is_access()) {
            changed.notify_one();
        }
    };
    let watching = notify::recommended_watcher(on_event).and_then(|mut watcher| {
        watcher.watch(directory, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    watching.inspect_err(|error| tracing::warn!(%error, "policy files are not watched; reload by SIGHUP")).ok()
}
