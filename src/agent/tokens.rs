//! Who may do what at the gateway: a token for each tenant, and one for the operator. Without tokens, everybody may do
//! everything.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};

use crate::config::{self, read_secret};

/// The tenant's name that stands for the operator.
const OPERATOR: &str = "*";

/// Whose a request is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Caller {
    /// Somebody who may do everything: the operator, or anybody where there are no tokens.
    Operator,
    /// A tenant: may register, invoke and see what is its own.
    Tenant(Arc<str>),
}

/// Why a request is refused before it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// No token.
    #[error("a token is needed here: send the header 'Authorization: Bearer TOKEN'")]
    Missing,
    /// Not one of ours.
    #[error("the token is not known here: check the file that agent.tokens names for the tenant")]
    Unknown,
}

impl Caller {
    /// Whether what belongs to `tenant` is the caller's to use.
    pub(super) fn may_use(&self, tenant: Option<&str>) -> bool {
        match self {
            Caller::Operator => true,
            Caller::Tenant(own) => tenant == Some(own),
        }
    }
}

/// The tokens, as their SHA-256: comparing those takes no longer the more of a token was guessed right.
#[derive(Clone, Default)]
pub(super) struct Tokens(Arc<Vec<([u8; 32], Caller)>>);

impl Tokens {
    /// Reads the file of each tenant.
    pub(super) fn read(files: &BTreeMap<String, PathBuf>) -> Result<Self, config::Error> {
        let mut tokens: Vec<([u8; 32], Caller)> = Vec::new();
        for (tenant, path) in files {
            let unusable = |expected: &str, reason: &str| config::Error::BadValue {
                key: format!("agent.tokens.{tenant}"),
                found: format!("'{}'", path.display()),
                expected: format!("{expected}, but it {reason}"),
            };
            let token = read_secret(path).map_err(|reason| unusable("a file that holds a token", &reason))?;
            // What an HTTP header can carry.
            if token.bytes().any(|byte| !byte.is_ascii_graphic()) {
                return Err(unusable("a token of letters, digits and signs on one line", "has something else in it"));
            }
            let digest = digest(&token);
            if tokens.iter().any(|(other, _)| *other == digest) {
                return Err(unusable("a token of its own", "holds that of another tenant"));
            }
            let caller = if tenant == OPERATOR { Caller::Operator } else { Caller::Tenant(tenant.as_str().into()) };
            tokens.push((digest, caller));
        }
        Ok(Self(Arc::new(tokens)))
    }

    /// Whether anybody may do everything.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose the request with these headers is.
    pub(super) fn caller(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        if self.0.is_empty() {
            return Ok(Caller::Operator);
        }
        let authorization = headers.get(header::AUTHORIZATION).ok_or(Refusal::Missing)?;
        let (scheme, token) =
            authorization.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(Refusal::Missing)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Refusal::Missing);
        }
        let digest = digest(token.trim());
        let found = self.0.iter().find(|(known, _)| *known == digest);
        found.map(|(_, caller)| caller.clone()).ok_or(Refusal::Unknown)
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(contents: &[(&str, &str)]) -> Result<Tokens, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = |(at, (tenant, token)): (usize, &(&str, &str))| {
            let path = folder.path().join(at.to_string());
            std::fs::write(&path, token).unwrap();
            ((*tenant).to_owned(), path)
        };
        Tokens::read(&contents.iter().enumerate().map(file).collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_token_says_who_calls() {
        let tokens = tokens(&[("acme", "orange-Tulip_7719\n"), ("*", "root")]).unwrap();
        let caller = |authorization: Option<&str>| {
            let headers = authorization.map(|text| (header::AUTHORIZATION, text.parse().unwrap()));
            tokens.caller(&headers.into_iter().collect())
        };
        assert_eq!(caller(Some("Bearer orange-Tulip_7719")), Ok(Caller::Tenant("acme".into())));
        assert_eq!(caller(Some("bearer root")), Ok(Caller::Operator));
        assert_eq!(caller(None), Err(Refusal::Missing));
        assert_eq!(caller(Some("Basic cm9vdA==")), Err(Refusal::Missing));
        assert_eq!(caller(Some("Bearer orange-Tulip_771")), Err(Refusal::Unknown));
        let acme = caller(Some("Bearer orange-Tulip_7719")).unwrap();
        assert!(acme.may_use(Some("acme")) && !acme.may_use(Some("other")) && !acme.may_use(None));
        assert_eq!(Tokens::default().caller(&HeaderMap::new()), Ok(Caller::Operator));
    }

    #[test]
    fn a_file_that_is_no_token_is_named_and_not_shown() {
        for (contents, text) in [
            (&[("acme", "\n")][..], "setting 'agent.tokens.acme' is '"),
            (&[("acme", "two words")], "letters, digits and signs on one line"),
            (&[("acme", "same-Lily"), ("other", "same-Lily")], "holds that of another tenant"),
        ] {
            let error = tokens(contents).err().unwrap();
            assert!(error.contains(text) && !error.contains("two words") && !error.contains("Lily"), "{error}");
        }
    }
}
