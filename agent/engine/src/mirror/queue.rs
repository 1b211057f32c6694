//! Tasks that wait to begin, in three lines, so that those of one kind never hold up the others (R12): large transfers, of
//! which few run at once; writes to a store that has not been probed yet, or refuses to be; and all the rest.
//!
//! In memory alone: what is lost with it is found again by a sweep.

use std::collections::VecDeque;

use crate::sequences::Task;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Large,
    Unprobed,
    Ordinary,
}

/// A line that moves slowly, or not at all, may be so many times longer before nothing more is looked for.
const SLOW_LINE: usize = 10;

#[derive(Default)]
pub(super) struct Queue {
    large: VecDeque<Task>,
    unprobed: VecDeque<Task>,
    ordinary: VecDeque<Task>,
}

impl Queue {
    fn line(&mut self, line: Line) -> &mut VecDeque<Task> {
        match line {
            Line::Large => &mut self.large,
            Line::Unprobed => &mut self.unprobed,
            Line::Ordinary => &mut self.ordinary,
        }
    }

    pub(super) fn push(&mut self, line: Line, task: Task) {
        self.line(line).push_back(task);
    }

    /// It is the next one of its line (again).
    pub(super) fn push_first(&mut self, line: Line, task: Task) {
        self.line(line).push_front(task);
    }

    pub(super) fn pop(&mut self, line: Line) -> Option<Task> {
        self.line(line).pop_front()
    }

    /// Whether more may be looked for. `is_probing`: the store is about to say what it keeps.
    pub(super) fn has_room(&self, max: usize, is_probing: bool) -> bool {
        let unprobed_max = if is_probing { max } else { SLOW_LINE * max };
        self.ordinary.len() < max && self.large.len() < SLOW_LINE * max && self.unprobed.len() < unprobed_max
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Task> {
        self.large.iter().chain(&self.unprobed).chain(&self.ordinary)
    }

    pub(super) fn len(&self) -> usize {
        self.large.len() + self.unprobed.len() + self.ordinary.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them, of all lines.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Task> + use<> {
        let Self { large, unprobed, ordinary } = std::mem::take(self);
        large.into_iter().chain(unprobed).chain(ordinary)
    }
}
