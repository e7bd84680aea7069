//! The token of SASL OAUTHBEARER. Getting one is left to what runs beside Pilotlight, such as Kubernetes or Vault: it
//! writes the token to a file, which is read again whenever librdkafka wants a fresh one (at 80 % of its life).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rdkafka::client::OAuthToken;
use serde::Deserialize;

use crate::config::{Kafka, TOKEN, read_secret};
use crate::model::now_ms;

/// How long a token holds that does not tell (ms).
const UNTOLD_LIFE_MS: i64 = 5 * 60 * 1000;

/// What we need of a token's claims (RFC 7519, section 4.1).
#[derive(Default, Deserialize)]
#[serde(default)]
struct Claims {
    sub: Option<String>,
    /// Epoch seconds; fractions are allowed.
    exp: Option<f64>,
}

/// The token in force, or why there is none.
pub(super) fn token(kafka: &Kafka) -> Result<OAuthToken, String> {
    let token = match (kafka.file(TOKEN), kafka.get(TOKEN)) {
        (Some(path), _) => read_secret(path).map_err(|reason| format!("the file {} {reason}", path.display()))?,
        (None, Some(token)) => token.to_owned(),
        (None, None) => return Err(format!("there is no token: set kafka.{TOKEN}.file to a file that holds one")),
    };
    let now_ms = now_ms();
    let claims = claims(&token).unwrap_or_default();
    let lifetime_ms = claims.exp.map_or(now_ms + UNTOLD_LIFE_MS, |exp_s| (exp_s * 1000.0) as i64);
    if lifetime_ms <= now_ms {
        let from = kafka.file(TOKEN).map_or(String::new(), |path| format!(" in {}", path.display()));
        return Err(format!("the token{from} has expired"));
    }
    // librdkafka wants a name but does not send it; the broker takes it from the token.
    let principal_name = claims.sub.filter(|sub| !sub.contains('\0')).unwrap_or_else(|| "pilotlight".to_owned());
    Ok(OAuthToken { token, principal_name, lifetime_ms })
}

/// The claims of a JSON web token; `None` where it is of another kind, which only the broker has to understand.
fn claims(token: &str) -> Option<Claims> {
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_tells_its_name_and_its_end() {
        let token_of = |text: &str| {
            let kafka: Kafka = toml::from_str(&format!("sasl.oauthbearer.token = '{text}'")).unwrap();
            token(&kafka).map(|token| (token.principal_name, token.lifetime_ms))
        };
        let web_token = |claims: &str| format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims));
        let hour_ago = now_ms() / 1000 - 3600;
        let in_an_hour = hour_ago + 7200;
        let claims = format!(r#"{{"sub":"shop","exp":{in_an_hour}}}"#);
        assert_eq!(token_of(&web_token(&claims)), Ok(("shop".to_owned(), in_an_hour * 1000)));
        let expired = token_of(&web_token(&format!(r#"{{"exp":{hour_ago}}}"#)));
        assert_eq!(expired, Err("the token has expired".to_owned()));
        let (name, lifetime_ms) = token_of("opaque").unwrap();
        assert_eq!(name, "pilotlight");
        assert!(lifetime_ms > now_ms());
        let none = token(&Kafka::default()).map(drop).unwrap_err();
        assert!(none.ends_with("set kafka.sasl.oauthbearer.token.file to a file that holds one"), "{none}");
    }
}
