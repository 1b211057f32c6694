fn main() {
    let mut a = std::env::args().skip(1);
    let code = match a.next().as_deref() {
        Some("dev") => gosync_agent::run_dev(gosync_agent::DevOptions { dir: a.next().unwrap().into(), version: "0.1.0".into(), color: false }),
        Some("run") => gosync_agent::run(gosync_agent::Options { config: a.next().unwrap().into(), data_dir: None, version: "0.1.0".into() }),
        _ => 2,
    };
    std::process::exit(code);
}
