//! `replay --to agent` really invokes the functions of a trace.

mod support;

use support::program::{Program, run};

#[test]
fn every_arrival_is_an_invocation_that_is_answered() {
    let Some(trace) = support::trace("azure2021-head998") else { return };
    let mut settings = pilotlight::config::Settings::load(Some("/dev/null".as_ref()), &[]).unwrap();
    let bus = pilotlight::bus::Embedded::start(&mut settings).unwrap();
    let servers = bus.bootstrap_servers();
    let common = ["--bootstrap-servers", &servers, "--set", "topics.create=false", "--speed", "600"];
    let agent = Program::start_ready(&[&["agent"], &common[..]].concat());

    let trace = trace.to_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("answers.csv");
    let played = ["replay", trace, "--speed", "600", "--limit", "300", "--to", "agent", &agent.url];
    let output = run(&[&played[..], &["--out", out.to_str().unwrap()]].concat());
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let expected = format!("invoked at {}: 300 answered, 0 failed, 0 without an answer\n", agent.url);
    let (first, rest) = said.split_at(said.find('\n').unwrap() + 1);
    assert_eq!(first, format!("300 of 300 invocations {expected}"));
    let answers = std::fs::read_to_string(&out).unwrap();
    let lines: Vec<Vec<&str>> = answers.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(lines[0], ["at_ms", "app", "status", "start", "init_ms", "sleep_ms", "response_ms"]);
    assert!(lines.len() == 301 && lines[1..].iter().all(|line| line[2] == "200"), "{answers}");
    let starts = ["cold", "prewarmed", "warm"].map(|name| lines.iter().filter(|line| line[3] == name).count());
    let [cold, prewarmed, warm] = starts;
    assert!(rest.starts_with(&format!("{cold} cold, {prewarmed} prewarmed, {warm} warm\n")), "{rest} {starts:?}");
    assert!(cold + prewarmed > 10 && warm > 100 && cold + prewarmed + warm == 300, "{starts:?}");

    let apps = agent.get_json("/apps");
    assert!(apps.as_object().unwrap().len() > 10, "{apps}");
    let events = support::topic::read_json(&servers, "pilotlight.invocations");
    assert_eq!(events.len(), 300);
    assert!(events.iter().all(|event| event["status"] == "ok"));
    let valid = support::schema("invocation.v1.json");
    assert!(events.iter().all(|event| valid.is_valid(event)), "{}", events[0]);
}

#[test]
fn an_agent_with_tokens_is_played_against_with_one() {
    let Some(trace) = support::trace("azure2021-head998") else { return };
    let mut settings = pilotlight::config::Settings::load(Some("/dev/null".as_ref()), &[]).unwrap();
    let bus = pilotlight::bus::Embedded::start(&mut settings).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, token: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, token).unwrap();
        path.display().to_string()
    };
    let (ours, theirs) = (file("ours", "a-token-of-ours\n"), file("theirs", "some-other-token\n"));
    let tokens = format!("agent.tokens.acme={ours}");
    let servers = bus.bootstrap_servers();
    let agent = ["agent", "--bootstrap-servers", &servers, "--set", "topics.create=false", "--set", &tokens];
    let agent = Program::start_ready(&agent);

    let trace = trace.to_str().unwrap();
    let play = |more: &[&str]| {
        let played = ["replay", trace, "--speed", "600", "--limit", "20", "--to", "agent", &agent.url];
        let output = run(&[&played[..], more].concat());
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let (code, said) = play(&["--token-file", &ours]);
    assert!(code == Some(0) && said.contains("20 answered, 0 failed"), "{said}");
    for (more, expected) in [(&[][..], "a token is needed"), (&["--token-file", &theirs], "the token is not known")] {
        let (code, said) = play(more);
        assert!(code == Some(1) && said.contains(expected) && !said.contains("some-other-token"), "{said}");
    }
    let (code, said) = play(&["--token-file", "/nowhere"]);
    assert!(code == Some(2) && said.contains("the token file '/nowhere' can't be read"), "{said}");
}

#[test]
fn nobody_there_is_one_clear_line() {
    let Some(trace) = support::trace("azure2021-head998") else { return };
    let nobody = format!("http://127.0.0.1:{}", support::program::free_port());
    let output = run(&["replay", trace.to_str().unwrap(), "--to", "agent", &nobody]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("did not take app") && said.to_lowercase().contains("refused"), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
}
