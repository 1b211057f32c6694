//! Where a debug build ends itself in the middle of its work, as by kill -9: at the crash point that the environment names.
//! Release builds know neither points nor variable.

#[cfg(debug_assertions)]
pub fn arm() {
    /// Names a [`gosync_engine::crash::CrashPoint`].
    const VARIABLE: &str = "GOSYNC_CRASH_AT";

    if std::env::var_os(VARIABLE).is_some() {
        gosync_engine::crash::on_reach(|point| {
            if std::env::var(VARIABLE).is_ok_and(|named| named == point.name()) {
                // Nothing is flushed, closed or dropped.
                std::process::abort();
            }
        });
    }
}

#[cfg(not(debug_assertions))]
pub const fn arm() {}
