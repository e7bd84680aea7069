//! Live tables over all instances of a consumer group: each shows the partitions that it owns, and the one that is asked
//! gathers what the others show.
//!
//! **No answer is silently partial.** Instances say of which partitions they show something, and how many there are. Where
//! a partition is shown by nobody, there is no answer but an error that says why. An instance that does not answer is
//! needed only while one is missing: once the group has given its partitions to others, the answer is whole without it.
//! A partition that two show while it moves is that of the one that is further ([`shares`]).
//!
//! **No loops.** What an instance tells others is of its own state; only who is asked for SQL gathers.
//!
//! **One moment.** All that one statement reads of an instance is of one look at it, which is kept for as long as a
//! statement may run ([`http`]). Rows are read as they are needed, a piece at a time, so that neither side holds them all.

mod client;
pub mod http;
mod shares;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use futures::Stream;
use futures::future::join_all;
use serde::{Deserialize, Serialize};

use crate::config::Members;
use crate::pipeline::Look;

use client::Client;
use shares::{Shares, Shown, share_out};

/// Topic and number of a partition.
pub(super) type Place = (String, i32);

/// Why there is no answer of all instances.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Some do not answer, and nobody else shows what they own.
    #[error(
        "the answer would not be whole: {because}; ask again once others have taken their partitions over, or they are \
         back (query.fleet)"
    )]
    Away {
        /// Which, why, and what is missing.
        because: String,
    },
    /// All answer, and yet nobody shows some partitions.
    #[error(
        "the answer would not be whole: no instance shows {missing}; ask again if the group is just sharing its partitions \
         out, else query.fleet lacks an instance"
    )]
    Missing {
        /// Which.
        missing: String,
    },
    /// One did not answer to the end.
    #[error("the instance at {address} {reason}")]
    BrokeOff {
        /// Which.
        address: String,
        /// Why.
        reason: String,
    },
}

/// The instances that are asked. Cheap to clone.
#[derive(Clone)]
pub struct Fleet(Arc<Inner>);

struct Inner {
    /// What tells this instance from the others.
    own: String,
    members: Vec<Members>,
    client: Client,
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fleet").field(&self.0.members).finish()
    }
}

/// What each instance shows of the partitions.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// Partitions that others are further with.
    pub(super) without: BTreeSet<Place>,
    /// The others.
    pub(super) peers: Vec<Peer>,
}

/// Another instance.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    address: String,
    without: BTreeSet<Place>,
}

/// A request for an instance's partitions.
#[derive(Serialize, Deserialize)]
struct AskedToShow {
    /// For which statement: what it reads later is of the same look.
    statement: String,
    /// Who asks: an instance that asks itself need not look.
    asked_by: String,
}

/// A request for an instance's rows of a table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct AskedForRows {
    pub(super) statement: String,
    pub(super) table: String,
    pub(super) columns: Vec<String>,
    /// Partitions whose rows are left out.
    pub(super) without: BTreeSet<Place>,
}

impl Fleet {
    /// Of the instances at `members`, for the one that is called `own`.
    pub fn new(own: &str, members: Vec<Members>) -> Self {
        Self(Arc::new(Inner { own: own.to_owned(), members, client: Client::default() }))
    }

    /// Asks all for what they show, for one statement that finds `look` here.
    pub(super) async fn gather(&self, statement: &str, look: &Look) -> Result<Gathered, Error> {
        let Inner { own, members, client } = &*self.0;
        let (mut addresses, mut failures) = (BTreeSet::new(), Vec::new());
        for (members, found) in members.iter().zip(join_all(members.iter().map(client::resolve)).await) {
            match found {
                Ok(found) => addresses.extend(found),
                Err(reason) => failures.push(format!("{members} {reason}")),
            }
        }
        let asked = AskedToShow { statement: statement.to_owned(), asked_by: own.clone() };
        let answers = join_all(addresses.iter().map(|address| client.show(address, &asked))).await;
        let (mut all, mut peers) = (vec![Shown::of(look, own)], Vec::new());
        for (address, answer) in addresses.into_iter().zip(answers) {
            match answer {
                // One may be there under several addresses.
                Ok(shown) if all.iter().any(|known| known.instance == shown.instance) => {}
                Ok(shown) => {
                    all.push(shown);
                    peers.push(address);
                }
                Err(reason) => failures.push(format!("the instance at {address} {reason}")),
            }
        }
        let Shares { without, missing, is_known } = share_out(&all);
        let missing = (!missing.is_empty()).then(|| shares::in_words(&missing));
        match missing {
            Some(missing) if failures.is_empty() => return Err(Error::Missing { missing }),
            Some(missing) => {
                let because = format!("no instance shows {missing}, and {}", failures.join("; "));
                return Err(Error::Away { because });
            }
            None if !failures.is_empty() && !is_known => return Err(Error::Away { because: failures.join("; ") }),
            None => {}
        }
        let mut without = without.into_iter();
        let own_without = without.next().unwrap_or_default();
        let peers = peers.into_iter().zip(without).map(|(address, without)| Peer { address, without });
        Ok(Gathered { without: own_without, peers: peers.collect() })
    }

    /// The rows of a table that `peer` has.
    pub(super) fn rows(
        &self,
        peer: Peer,
        asked: AskedForRows,
        schema: SchemaRef,
    ) -> impl Stream<Item = Result<RecordBatch, Error>> + Send + use<> {
        let fleet = self.clone();
        let asked = AskedForRows { without: peer.without, ..asked };
        client::rows(fleet, peer.address, asked, schema)
    }
}
