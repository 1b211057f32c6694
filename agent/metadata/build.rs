//! The migrations are built in: a new file among them must build the crate anew.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
