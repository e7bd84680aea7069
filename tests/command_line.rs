//! The command line says what it can do, and in one sentence what is wrong, with exit code 2.
#![allow(clippy::unwrap_used, reason = "tests say what they expect")]

mod support;

use support::program::run;

fn fails(arguments: &[&str]) -> String {
    let output = run(arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    said
}

#[test]
fn wrong_usage_is_one_sentence_and_exit_code_2() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.toml");
    std::fs::write(&file, "[publish]\ntolerence = 5.0\n").unwrap();
    let file = file.to_str().unwrap();
    let settings_folder = folder.path().to_str().unwrap();
    let cases: Vec<(Vec<&str>, &str)> = vec![
        (vec!["up", "--listen", &taken], "can't listen on"),
        (vec!["pipeline", "--listen", &taken], "choose another address with --listen"),
        (vec!["agent", "--listen", &taken], "can't listen on"),
        (
            vec!["check", "--config", "/nowhere/settings.toml"],
            "configuration file '/nowhere/settings.toml' can't be read",
        ),
        (vec!["check", "--config", file], "unknown setting 'publish.tolerence'"),
        (vec!["check", "--config", file], "did you mean 'publish.tolerance'?"),
        (vec!["check", "--set", "policy.name=hibrid"], "did you mean 'hybrid'?"),
        (vec!["pipeline", "--policy", "fixd:10m"], "unknown policy 'fixd'"),
        (vec!["pipeline", "--policy", "hybrid", "--budget-memory", "1GB"], "these are 2 policies"),
        (vec!["pipeline", "--budget-memory", "lots"], "'lots': expected memory, such as 64GB or 500MB"),
        (vec!["check", "--set", "policy.frontier.budgt=1GB"], "did you mean 'policy.frontier.budget'?"),
        (vec!["up", "--policy", "frontiers"], "did you mean 'frontier'?"),
        (vec!["check", "--set", "kafka.bootstrap.server=x"], "did you mean 'kafka.bootstrap.servers'?"),
        (vec!["check", "--set", "input.topics"], "expected KEY=VALUE"),
        (vec!["replay", settings_folder], "holds no trace: found 'settings.toml', expected"),
        (vec!["simulate", file], "settings.toml' is no trace: it begins with '[publish]'; expected the columns"),
        (vec!["replay", "/nowhere"], "trace '/nowhere' can't be read"),
        (vec!["agent", "--apps", "/nowhere.toml"], "apps file '/nowhere.toml' can't be read"),
        (vec!["generate", "--out", settings_folder], "is not empty"),
        (vec!["generate", "--out", "-"], "this format needs a folder"),
        (vec!["generate", "--out", file, "--format", "events"], "is there already"),
        (vec!["check", "--format", "aws"], "give a file of them with --sample FILE"),
        (vec!["check", "--sample", file, "--format", "json"], "expected one of native, cloudevents, openwhisk, aws"),
        (vec!["check", "--sample", "/nowhere"], "sample '/nowhere' can't be read"),
        (vec!["check", "--sample", "/dev/null"], "sample '/dev/null' is empty"),
        (vec!["check", "--set", "input.topics=a,b:openwisk"], "did you mean 'openwhisk'?"),
        (vec!["pipeline", "--input", "a:mapping"], "setting 'input.mapping.app' is empty"),
        (vec!["check", "--sample", file, "--format", "mapping.shop"], "that has a section [input.mappings.shop]"),
        (
            vec!["check", "--set", "input.topics=a,a:aws"],
            "setting 'input.topics' is 'a' twice: expected each topic once",
        ),
        (vec!["check", "--log", "loud"], "--log 'loud' can't be read"),
    ];
    for (arguments, text) in cases {
        let said = fails(&arguments);
        assert!(said.contains(text), "{arguments:?}: {said}");
        assert_eq!(said.trim_end().lines().count(), 1, "one sentence: {said}");
    }
    for arguments in [["up", "--speed", "0"], ["up", "--for", "soon"], ["pipeline", "--nonsense", "1"]] {
        fails(&arguments);
    }
}

#[test]
fn check_says_what_would_be_connected_to_and_hides_secrets() {
    let output = run(&[
        "check",
        "--bootstrap-servers",
        "broker:9092",
        "--set",
        "kafka.sasl.password=hush",
        "--set",
        "kafka.sasl.username=me",
        "--set",
        "input.topics=a,b",
    ]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    for text in
        ["Kafka at broker:9092", "sasl.username = me", "sasl.password = (hidden)", "a, b", "Nothing was connected to."]
    {
        assert!(said.contains(text), "{text} in:\n{said}");
    }
    let output = run(&["check", "--format", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["bootstrap_servers"], "127.0.0.1:9092");
}

#[test]
fn help_has_examples() {
    for command in ["up", "pipeline", "agent", "replay", "generate", "simulate", "report", "check"] {
        let output = run(&[command, "--help"]);
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && said.contains(&format!("pilotlight {command}")), "{said}");
    }
}
