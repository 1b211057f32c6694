//! Worlds where one thing happens.

use gosync_engine::Hint;
use gosync_plan::Direction;

use crate::disk::Renaming;
use crate::options::{Faults, Leasing, Options};
use crate::run::{Outcome, an_agent, run_world};
use crate::world::{Event, World};

const SECOND_NS: u64 = 1_000_000_000;

/// Nobody does anything but what `happens`.
fn outcome(options: Options, happens: impl FnOnce(&mut World)) -> Outcome {
    let options = Options { steps: 0, faults: Faults::NONE, story: true, ..options };
    let mut world = World::new(&options);
    let profile = &mut world.profile;
    (profile.scan_interval_ms, profile.watch, profile.guarded, profile.start_ms) = (30_000, true, true, 100);
    (profile.prefix, profile.filled) = ("p/", false);
    profile.directions.fill(Direction::TwoWay);
    (profile.part_bytes, profile.opaque_etags, profile.exchange, profile.leasing) =
        (1_000, false, true, Leasing::Always);
    if let Some(fleet) = &mut profile.fleet {
        fleet.lives_from_feed = false;
    }
    (world.operator, world.bucket.opaque_etags) = (false, false);
    happens(&mut world);
    run_world(&options, world, &an_agent)
}

fn at(world: &mut World, seconds: u64, act: impl FnOnce(&mut World) + Send + 'static) {
    world.schedule(seconds * SECOND_NS, Event::Act(Box::new(act)));
}

fn lines(outcome: &Outcome, word: &str) -> usize {
    outcome.story.iter().filter(|line| line.contains(word)).count()
}

#[test]
fn agents_without_their_metadata_wait_for_them_and_do_not_go_round_and_round() {
    let outcome = outcome(Options { agents: 2, ..Options::shared(7) }, |world| {
        world.tool_puts("p/a");
        at(world, 20, |world| {
            let until_ns = world.now_ns() + 90 * SECOND_NS;
            world.take_metadata_away(None, until_ns);
        });
    });
    assert!(outcome.violations.is_empty(), "{}", outcome.verdict().join("\n"));
    assert!(lines(&outcome, "record: fails") + lines(&outcome, "changes: fails") > 0);
}

#[test]
fn where_all_are_halted_one_still_lists_and_what_ends_the_halt_is_seen() {
    let outcome = outcome(Options { agents: 2, ..Options::shared(7) }, |world| {
        let keys: Vec<String> = (0..6).map(|number| format!("p/{number}")).collect();
        keys.iter().for_each(|key| world.tool_puts(key));
        at(world, 30, move |world| {
            let objects: Vec<(String, Vec<u8>)> =
                world.bucket.objects().map(|(key, object)| (key.to_owned(), object.body.clone())).collect();
            let objects: Vec<_> = objects.into_iter().filter(|(key, _)| keys.contains(key)).collect();
            for key in &keys {
                world.tool_deletes(key);
            }
            at(world, 30, move |world| {
                for (key, body) in objects {
                    world.tool_puts_back(&key, body);
                }
            });
        });
    });
    assert!(outcome.violations.is_empty(), "{}", outcome.verdict().join("\n"));
    assert!(lines(&outcome, "tells: Halted") > 0, "{}", outcome.story.join("\n"));
    assert_eq!(lines(&outcome, "tells: HaltEnded"), lines(&outcome, "tells: Halted"));
}

/// Once the bucket has made the copy, nothing can be written down here, and the file is edited.
fn once_it_is_copied(world: &mut World, copies_before: u64) {
    if world.stats.effects.copies == copies_before {
        let again = move |world: &mut World| once_it_is_copied(world, copies_before);
        world.schedule(50_000, Event::Act(Box::new(again)));
        return;
    }
    (world.quiet, world.profile.disk_faults) = (false, 1.0);
    world.saves(0, "new");
    at(world, 2, |world| (world.quiet, world.profile.disk_faults) = (true, 0.0));
}

#[test]
fn a_copy_that_nobody_could_write_down_before_an_edit_is_no_strangers_object() {
    let outcome = outcome(Options { agents: 1, ..Options::new(7) }, |world| {
        world.profile.directions.fill(Direction::Push);
        world.saves(0, "old");
        at(world, 30, |world| {
            // The probe has made some.
            let copies = world.stats.effects.copies;
            world.user_acts(0, |world| {
                let _ = world.replicas[0].disk.rename("old", "new", Renaming::Replace);
            });
            world.notice(0, "old", Hint::LocalRemoved);
            world.notice(0, "new", Hint::LocalClosed);
            once_it_is_copied(world, copies);
        });
    });
    assert!(outcome.violations.is_empty(), "{}", outcome.story.join("\n"));
    assert!(
        lines(&outcome, "COPY \"p/new\"") > 0 && lines(&outcome, "open new: fails") > 0,
        "{}",
        outcome.story.join("\n")
    );
    assert_eq!(lines(&outcome, "diverged"), 0);
}
