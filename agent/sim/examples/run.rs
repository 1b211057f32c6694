use gosync_sim::{Faults, Options, simulate};
use std::collections::BTreeMap;
use std::time::Instant;
fn main() {
    let args: Vec<u64> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    let (from, to) = (args[0], args.get(1).copied().unwrap_or(args[0] + 1));
    let steps = args.get(2).copied().unwrap_or(200) as u32;
    let agents = args.get(3).copied().unwrap_or(3) as usize;
    let faults = match std::env::var("FAULTS") {
        Err(_) => Faults::default(),
        Ok(list) => {
            let on = |name: &str| list.split(',').any(|one| one == name);
            Faults {
                kills: on("kills"),
                power: on("power"),
                store: on("store"),
                disk: on("disk"),
                hints: on("hints"),
                races: on("races"),
            }
        }
    };
    let started = Instant::now();
    let mut bad = 0;
    let one = to == from + 1;
    let mut kinds: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for seed in from..to {
        let mut options = Options::new(seed);
        options.steps = steps;
        options.agents = agents;
        options.faults = faults;
        options.story = one;
        let outcome = simulate(&options);
        if one {
            for line in &outcome.story {
                println!("{line}");
            }
            for line in outcome.verdict() {
                println!("{line}");
            }
        } else if let Some(first) = outcome.violations.first() {
            bad += 1;
            println!("seed {seed}: {} ({}) {}", first.promise, outcome.violations.len(), first.message);
            let mut kind = format!("{} {}", first.promise, first.message);
            for word in [
                "away from",
                "removed the last name",
                "not on host",
                "not in the bucket",
                "had settled",
                "mode",
                "at the end",
                "sent",
                "deleted",
                "replaced or",
                "ended by",
                "panicked",
                "in the bucket, #",
            ] {
                if first.message.contains(word) {
                    kind = format!("{} {word}", first.promise);
                    break;
                }
            }
            kinds.entry(kind).or_default().push(seed);
        }
    }
    for (kind, seeds) in kinds {
        println!("{:4} {kind}: {:?}", seeds.len(), &seeds[..seeds.len().min(8)]);
    }
    println!("{bad} bad of {} in {:?}", to - from, started.elapsed());
}
