//! Calls of one kind, many at a time: whoever comes while one is under way shares the next one.
//!
//! Whoever leads a round does the work for all who wait by then, and hands the lead to one of those who came meanwhile. A
//! leader that is dropped in the middle leaves those whom it serves without an answer; the others go on.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex};

use futures_channel::oneshot;

use crate::context::lock;

pub struct Gather<T, R> {
    round: Shared<T, R>,
}

type Shared<T, R> = Arc<Mutex<Round<T, R>>>;

struct Round<T, R> {
    running: bool,
    waiting: VecDeque<(T, oneshot::Sender<Turn<T, R>>)>,
}

enum Turn<T, R> {
    Done(R),
    /// The last round is over, and the next one is this one's to lead.
    Lead(T, Lead<T, R>),
}

/// Whoever holds it leads; dropping it hands it on.
struct Lead<T, R>(Shared<T, R>);

impl<T, R> Drop for Lead<T, R> {
    fn drop(&mut self) {
        let next = {
            let mut round = lock(&self.0);
            let next = round.waiting.pop_front();
            round.running = next.is_some();
            next
        };
        if let Some((item, sender)) = next {
            // Where nobody waits any more, the lead is dropped with what comes back.
            let _ = sender.send(Turn::Lead(item, Self(Arc::clone(&self.0))));
        }
    }
}

impl<T, R> Default for Gather<T, R> {
    fn default() -> Self {
        Self { round: Arc::new(Mutex::new(Round { running: false, waiting: VecDeque::new() })) }
    }
}

impl<T, R> Gather<T, R> {
    /// The answer for `item`. `work` is called with `most` items at most, in the order in which they came, and has an answer
    /// for each. `None`: whoever worked for this one was dropped.
    pub async fn call<F: Future<Output = Vec<R>>>(
        &self,
        item: T,
        most: usize,
        work: impl FnOnce(Vec<T>) -> F,
    ) -> Option<R> {
        let (mut items, lead) = match self.come(item) {
            Ok((item, lead)) => (vec![item], lead),
            Err(turn) => match turn.await.ok()? {
                Turn::Done(answer) => return Some(answer),
                Turn::Lead(item, lead) => (vec![item], lead),
            },
        };
        let mut senders = Vec::new();
        {
            let mut round = lock(&self.round);
            let more = round.waiting.len().min(most.saturating_sub(1));
            for (item, sender) in round.waiting.drain(..more) {
                items.push(item);
                senders.push(sender);
            }
        }
        let mut answers = work(items).await.into_iter();
        let own = answers.next();
        for (sender, answer) in senders.into_iter().zip(answers) {
            let _ = sender.send(Turn::Done(answer));
        }
        drop(lead);
        own
    }

    /// The lead where nobody has it, else a place in the queue.
    #[allow(clippy::type_complexity, reason = "named nowhere else")]
    fn come(&self, item: T) -> Result<(T, Lead<T, R>), oneshot::Receiver<Turn<T, R>>> {
        let mut round = lock(&self.round);
        if round.running {
            let (sender, receiver) = oneshot::channel();
            round.waiting.push_back((item, sender));
            return Err(receiver);
        }
        round.running = true;
        Ok((item, Lead(Arc::clone(&self.round))))
    }
}

#[cfg(test)]
mod tests {
    // Tests may stop at the first surprise.
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::cell::RefCell;
    use std::future::{pending, ready};
    use std::pin::pin;

    use futures_util::FutureExt as _;
    use futures_util::future::join_all;

    use super::*;

    #[test]
    fn whoever_comes_meanwhile_shares_the_next_call() {
        let gather = Gather::default();
        let calls = RefCell::new(Vec::new());
        let (go, gone) = oneshot::channel::<()>();
        let gone = gone.shared();
        let call = |item: u32| {
            let (calls, gone) = (&calls, gone.clone());
            gather.call(item, 3, move |items| async move {
                calls.borrow_mut().push(items.clone());
                gone.await.unwrap();
                items.into_iter().map(|item| item * 10).collect()
            })
        };
        let mut all = pin!(join_all((0..6).map(call)));
        assert!(all.as_mut().now_or_never().is_none());
        assert_eq!(*calls.borrow(), [[0]]);
        go.send(()).unwrap();
        let answers = futures_util::FutureExt::now_or_never(all).unwrap();
        assert_eq!(answers, (0..6).map(|item| Some(item * 10)).collect::<Vec<_>>());
        assert_eq!(*calls.borrow(), [vec![0], vec![1, 2, 3], vec![4, 5]]);
    }

    #[test]
    fn a_leader_that_is_dropped_hands_on_the_lead() {
        let gather = Gather::<u32, u32>::default();
        let mut first = Box::pin(gather.call(1, 9, |_| pending()));
        assert!(first.as_mut().now_or_never().is_none());
        let mut second = Box::pin(gather.call(2, 9, ready));
        let mut third = Box::pin(gather.call(3, 9, ready));
        assert!(second.as_mut().now_or_never().is_none() && third.as_mut().now_or_never().is_none());
        drop(first);
        // It has the lead by now, and goes without having looked.
        drop(second);
        assert_eq!(third.now_or_never(), Some(Some(3)));
        assert_eq!(gather.call(4, 9, ready).now_or_never(), Some(Some(4)));
    }
}
