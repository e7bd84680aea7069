//! What to do with a partition that was just assigned: a pure function of what was found. Doing it is the pipeline's.

use super::store::Name;

/// A checkpoint that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Which.
    pub name: Name,
    /// What is known of its contents.
    pub health: Health,
}

/// What is known of a checkpoint's contents.
#[derive(Debug, Clone, PartialEq)]
pub enum Health {
    /// Not looked at yet.
    Unread,
    /// As it was written.
    Sound,
    /// Not what was written.
    Damaged,
    /// Written by a later version; why it can't be used.
    Newer(String),
    /// Made for a policy that wants something else to be kept; which, in words.
    Unfit(String),
}

/// The offsets of a partition's first event and of the one to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// The first that is still there.
    pub low: i64,
    /// The next to be written.
    pub high: i64,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Read the checkpoint of this index, note its health, and ask again.
    Read(usize),
    /// Take over the state of this one and go on at its offset.
    Resume(usize),
    /// Begin with no state at the beginning of the log.
    Anew {
        /// First part of the versions of what is published then.
        epoch: u64,
        /// Why, where it is no matter of course.
        because: Option<String>,
    },
    /// End: only a person can tell what is right.
    Refuse(String),
}

/// What to do, given the checkpoints `found` (the latest first), what the `log` has, and the least epoch to take.
///
/// Who resumes, or reads the log from its very beginning, publishes again what was published, with the same versions.
/// Who starts on less than that comes to other decisions: they need a higher epoch, or consumers would drop them.
pub fn next_step(found: &[Found], log: Log, least_epoch: u64) -> Step {
    let Some(latest) = found.first().map(|found| found.name) else {
        return Step::Anew { epoch: least_epoch, because: None };
    };
    let raised = |because: String| Step::Anew { epoch: least_epoch.max(latest.epoch + 1), because: Some(because) };
    if least_epoch > latest.epoch {
        return raised(format!("publish.epoch is {least_epoch}, and that of the last checkpoint {}", latest.epoch));
    }
    // State of an earlier epoch is none that the latest decisions rest on.
    for (i, Found { name, health }) in
        found.iter().enumerate().take_while(|(_, found)| found.name.epoch == latest.epoch)
    {
        let Name { offset, .. } = *name;
        match health {
            Health::Damaged => continue,
            Health::Newer(why) => {
                return Step::Refuse(format!(
                    "checkpoint {name} can't be used: {why}; start that version, or delete it"
                ));
            }
            _ if offset < log.low => {
                return raised(format!("the log begins at offset {}, and the checkpoint stands at {offset}", log.low));
            }
            _ if offset > log.high => {
                return raised(format!(
                    "the log ends at offset {}, and the checkpoint stands at {offset}: the topic was made anew",
                    log.high
                ));
            }
            Health::Unfit(why) => return raised(why.clone()),
            Health::Unread => return Step::Read(i),
            Health::Sound => return Step::Resume(i),
        }
    }
    let because = "no checkpoint is sound".to_owned();
    match log.low {
        0 => Step::Anew { epoch: latest.epoch, because: Some(because) },
        _ => raised(because),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Health::{Damaged, Sound, Unread};

    fn found(all: &[(u64, i64, Health)]) -> Vec<Found> {
        let found = |(epoch, offset, health): &(u64, i64, Health)| Found {
            name: Name { epoch: *epoch, offset: *offset },
            health: health.clone(),
        };
        all.iter().map(found).collect()
    }

    /// Which epoch a partition starts anew with, if it does.
    fn anew(step: &Step) -> Option<u64> {
        if let Step::Anew { epoch, .. } = step { Some(*epoch) } else { None }
    }

    #[test]
    fn the_latest_sound_one_is_resumed_from() {
        let log = Log { low: 0, high: 1000 };
        let table = [
            (found(&[(0, 900, Unread), (0, 800, Unread)]), Step::Read(0)),
            (found(&[(0, 900, Sound), (0, 800, Unread)]), Step::Resume(0)),
            (found(&[(0, 900, Damaged), (0, 800, Unread)]), Step::Read(1)),
            (found(&[(0, 900, Damaged), (0, 800, Sound)]), Step::Resume(1)),
            (found(&[(0, 1000, Sound)]), Step::Resume(0)),
            (found(&[(3, 0, Sound), (2, 900, Unread)]), Step::Resume(0)),
        ];
        for (found, expected) in table {
            assert_eq!(next_step(&found, log, 0), expected, "{found:?}");
        }
        let at_the_beginning = found(&[(0, 500, Sound)]);
        assert_eq!(next_step(&at_the_beginning, Log { low: 500, high: 500 }, 0), Step::Resume(0));
    }

    #[test]
    fn without_one_the_log_is_read_anew_and_the_epoch_grows_where_decisions_may_differ() {
        let (whole, cut, short) = (Log { low: 0, high: 1000 }, Log { low: 950, high: 1000 }, Log { low: 0, high: 10 });
        let unfit = Health::Unfit("made for another policy".to_owned());
        let table = [
            ("none yet", found(&[]), whole, 0, 0),
            ("none yet, and the log is not whole", found(&[]), cut, 0, 0),
            ("the user wants a higher epoch", found(&[(1, 900, Unread)]), whole, 5, 5),
            ("all damaged, but everything can be read again", found(&[(2, 900, Damaged)]), whole, 0, 2),
            ("all damaged, and the log is not whole", found(&[(2, 900, Damaged)]), cut, 0, 3),
            ("cut off past the checkpoint", found(&[(2, 900, Unread)]), cut, 0, 3),
            ("cut off past the one that is sound", found(&[(2, 980, Damaged), (2, 900, Unread)]), cut, 0, 3),
            ("deleted and made anew", found(&[(0, 900, Unread)]), short, 0, 1),
            ("another policy", found(&[(0, 900, unfit)]), whole, 0, 1),
            ("damaged, and before it another epoch", found(&[(1, 900, Damaged), (0, 950, Sound)]), whole, 0, 1),
        ];
        for (what, found, log, least_epoch, expected) in table {
            assert_eq!(anew(&next_step(&found, log, least_epoch)), Some(expected), "{what}");
        }
    }

    #[test]
    fn a_later_version_is_not_overruled() {
        let newer = Health::Newer("its schema is 9, and this version reads up to 2".to_owned());
        let found = found(&[(0, 900, newer), (0, 800, Sound)]);
        let said = "checkpoint 0-00000000000000000900.arrow can't be used: its schema is 9, and this version reads up to 2; \
                    start that version, or delete it";
        assert_eq!(next_step(&found, Log { low: 0, high: 1000 }, 0), Step::Refuse(said.to_owned()));
    }
}
