//! A broker behind TLS that wants a sign-in: events in, decisions out by every mechanism; what is wrong is said in one
//! sentence; and no secret is ever printed.
#![allow(clippy::unwrap_used, reason = "tests say what they expect")]

mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use support::kafka::{Broker, PASSWORD, Secured, USER};
use support::program::{Program, run};
use support::{topic, wait_for};

/// A settings file for `secured`, with the rest of its section `[kafka]`.
fn settings(folder: &Path, name: &str, secured: &Secured, certificate: &Path, rest: &str) -> PathBuf {
    let path = folder.join(format!("{name}.toml"));
    let text = format!(
        "[input]\ngroup = '{name}'\n[kafka]\nbootstrap.servers = '{}'\nsecurity.protocol = 'SASL_SSL'\n\
         ssl.ca.location = '{}'\nsession.timeout.ms = 6000\n{rest}\n",
        secured.bootstrap,
        certificate.display()
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// A file that holds a secret.
fn secret(folder: &Path, name: &str, value: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, format!("{value}\n")).unwrap();
    path
}

/// A token that is not signed, as a broker takes it that was told of no issuer.
fn token() -> String {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = serde_json::json!({"sub": USER, "iat": now_s, "exp": now_s + 600});
    format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode(claims.to_string()))
}

#[test]
fn every_mechanism_works_and_mistakes_are_one_sentence() {
    let Some(broker) = Broker::start_secured() else { return };
    let (bootstrap, secured) = (broker.bootstrap(), broker.secured());
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let password = secret(folder, "password", PASSWORD);
    let token = token();
    let by_token = format!(
        "sasl.mechanism = 'OAUTHBEARER'\nsasl.oauthbearer.token.file = '{}'",
        secret(folder, "token", &token).display()
    );
    let by_password = |mechanism: &str, password: &Path| {
        let password = password.display();
        format!("sasl.mechanism = '{mechanism}'\nsasl.username = '{USER}'\nsasl.password = {{ file = '{password}' }}")
    };
    let hides_secrets = |printed: &str| {
        assert!(!printed.contains(PASSWORD) && !printed.contains(&token), "{printed}");
    };

    // The first makes the topics; OAUTHBEARER can't.
    for (count, mechanism) in (1..).zip(["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "OAUTHBEARER"]) {
        let rest = if mechanism == "OAUTHBEARER" { by_token.clone() } else { by_password(mechanism, &password) };
        let rest = format!("{rest}\ndebug = 'all'");
        let config = settings(folder, mechanism, secured, &secured.certificate, &rest);
        let config = config.to_str().unwrap();
        let program =
            |command: &str| Program::start_ready(&[command, "--config", config, "--log", "trace,librdkafka=trace"]);
        let (pipeline, agent) = (program("pipeline"), program("agent"));
        let writer = topic::Writer::open(&bootstrap);
        writer.write("pilotlight.invocations", mechanism, &topic::event(mechanism, 1_700_000_000_000, 5.0));
        writer.flush();
        wait_for("the decision by the agent", Duration::from_secs(30), || {
            (agent.get_json("/warm").as_array().unwrap().len() == count).then_some(())
        });
        for program in [pipeline, agent] {
            let (code, printed) = program.interrupt();
            assert_eq!(code, Some(0), "{mechanism}: {printed}");
            hides_secrets(&printed);
        }
        for format in ["table", "json"] {
            let checked = run(&["check", "--config", config, "--format", format]);
            let checked = String::from_utf8(checked.stdout).unwrap();
            assert!(checked.contains("(hidden, from "), "{checked}");
            hides_secrets(&checked);
        }
    }

    let wrong_password = "plum-Tulip_7719";
    let wrong = by_password("SCRAM-SHA-512", &secret(folder, "wrong", wrong_password));
    let right = by_password("SCRAM-SHA-512", &password);
    let mistakes = [
        ("wrong-password", &secured.certificate, wrong, "it refuses the sign-in (", "kafka.sasl.password"),
        (
            "wrong-mechanism",
            &secured.certificate,
            right.replace("SHA-512", "SHA-1"),
            "it refuses the sign-in (",
            "kafka.sasl.mechanism",
        ),
        ("wrong-certificate", &secured.wrong_certificate, right, "there is no TLS with it (", "kafka.ssl.ca.location"),
    ];
    for (name, certificate, rest, what, check) in mistakes {
        let config = settings(folder, name, secured, certificate, &rest);
        for command in ["pipeline", "agent"] {
            let arguments = [command, "--config", config.to_str().unwrap(), "--log", "error"];
            let (code, printed) = Program::start(&arguments).wait_for_end();
            assert_eq!(code, Some(1), "{name}: {printed}");
            let sentence = format!("pilotlight: Kafka at {} can't be used: {what}", secured.bootstrap);
            assert!(printed.starts_with(&sentence) && printed.contains(check), "{name}: {printed}");
            assert_eq!(printed.lines().count(), 1, "{name}: {printed}");
            assert!(!printed.contains(wrong_password), "{printed}");
            hides_secrets(&printed);
        }
    }

    // No refusal, as a broker of another kind may take its place: it is waited for, and the log says what may be wrong.
    let plain = ["pipeline", "--bootstrap-servers", &secured.bootstrap];
    let plain = Program::start(&plain);
    wait_for("a word on the protocol", Duration::from_secs(30), || {
        plain.logs().contains("security.protocol").then_some(())
    });
}
