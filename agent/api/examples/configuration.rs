//! Prints `docs/configuration.md`; `make docs` writes it.

fn main() {
    print!("{}", gosync_api::config::page());
}
