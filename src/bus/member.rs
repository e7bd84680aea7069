//! What members of a consumer group have in common, whether they commit offsets or not.

use std::cell::Cell;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::message::BorrowedMessage;

use crate::config::Kafka;

use super::Error;
use super::client;
use super::consumer::{READING, handle};
use super::log_ends;

/// Makes a member of `group` for `topics`, with `own` options beside those of all members.
pub(super) fn join<T: client::Own>(
    kafka: &Kafka,
    group: &str,
    topics: &[&str],
    own: &[(&str, &str)],
    context: client::Context<T>,
) -> Result<BaseConsumer<client::Context<T>>, Error>
where
    client::Context<T>: ConsumerContext,
{
    let mut options = client::options(kafka, &[&READING[..], &[log_ends::EVERY], own].concat());
    // Never the user's: what is committed, if anything is, says what is done.
    options.set("group.id", group).set("enable.auto.commit", "false");
    let consumer: BaseConsumer<_> =
        options.create_with_context(context).map_err(|error| client::unusable(kafka, error))?;
    // Serves the request for a token, if there is one; messages there are none before the subscription.
    drop(consumer.poll(Duration::ZERO));
    consumer.subscribe(topics).map_err(|source| Error::Subscribe { topic: topics.join(", "), source })?;
    Ok(consumer)
}

/// The next message; and `asked` after the broker while none answers.
pub(super) fn poll<'c, T: client::Own>(
    consumer: &'c BaseConsumer<client::Context<T>>,
    asked: &Cell<Instant>,
    timeout: Duration,
) -> Result<Option<BorrowedMessage<'c>>, Error>
where
    client::Context<T>: ConsumerContext,
{
    let health = &consumer.context().health;
    // Only while nothing comes anyway: asking takes time.
    if !health.is_connected() && asked.get().elapsed() > Duration::from_secs(1) {
        health.ask(consumer.client(), Duration::from_secs(1));
        asked.set(Instant::now());
    }
    match consumer.poll(timeout) {
        None => Ok(None),
        Some(Ok(message)) => Ok(Some(message)),
        Some(Err(error)) => handle(consumer.context(), error).map(|()| None),
    }
}

/// Leaves the group at once, so that others take over without waiting for a time-out.
pub(super) fn leave<T: client::Own>(consumer: &BaseConsumer<client::Context<T>>)
where
    client::Context<T>: ConsumerContext,
{
    consumer.unsubscribe();
    // Consumers can hang when dropped while assigned: let the revocation be served first.
    let deadline = Instant::now() + Duration::from_secs(2);
    while consumer.assignment().is_ok_and(|owned| owned.count() > 0) && Instant::now() < deadline {
        drop(consumer.poll(Duration::from_millis(20)));
    }
}
