//! What `--version` says: the version, the system it was built for, and for a packaged binary from which commit.
//!
//! `make package` tells the compiler in `OUTRIDER_PACKAGED` what the binary is made of; scripts/sidecar.escript takes a
//! binary without those words for one that was built where it lies, and lets Cargo look whether it is still current.

use std::sync::LazyLock;

/// As in `0.1.0 (x86_64-linux, static; packaged from 52f3a1bc09de by rustc 1.95.0)`.
pub fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let linked = if cfg!(target_feature = "crt-static") { "static" } else { "dynamic" };
        let made = match option_env!("OUTRIDER_PACKAGED") {
            Some(from) => format!("packaged from {from}"),
            None => "built from source".into(),
        };
        let (machine, system) = (std::env::consts::ARCH, std::env::consts::OS);
        format!("{} ({machine}-{system}, {linked}; {made})", env!("CARGO_PKG_VERSION"))
    });
    &TEXT
}
