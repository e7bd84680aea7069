//! What goes wrong with a function is told to its caller, published with its status, and harms nobody else.

mod support;

use std::time::Duration;

use support::program::Program;
use support::{topic, wait_for};

#[test]
fn callers_get_a_clear_error_and_the_runtime_is_replaced() {
    let mut settings = pilotlight::config::Settings::load(Some("/dev/null".as_ref()), &[]).unwrap();
    let bus = pilotlight::bus::Embedded::start(&mut settings).unwrap();
    let servers = bus.bootstrap_servers();
    let agent = Program::start_ready(&[
        "agent",
        "--bootstrap-servers",
        &servers,
        "--set",
        "topics.create=false",
        "--set",
        "agent.init_timeout=1s",
        "--set",
        "agent.run_timeout=1s",
        "--set",
        "agent.max_request_bytes=1000",
    ]);
    agent.register("good", "sh", "main() { echo '{\"ok\":true}'; }");
    agent.register("crashes-at-init", "sh", "exit 1");
    agent.register("hangs-at-init", "sh", "sleep 30.0625");
    agent.register("hangs", "sh", "main() { sleep 30.0625; }");
    agent.register("garbage", "sh", "main() { echo hello; echo '}{'; }");
    agent.register("fails", "sh", "main() { return 3; }");
    agent.register("not-sh", "sh", "main( { fi");
    agent.register("wrong-kind", "cobol", "");

    let good = |after: &str| assert_eq!(agent.invoke("good", "{}").0, 200, "after {after}");
    good("nothing");
    let cases = [
        ("crashes-at-init", 502, "can't be loaded", Some("init_failed")),
        ("hangs-at-init", 504, "no answer within 1000 ms", Some("init_failed")),
        ("hangs", 504, "no answer within 1000 ms", Some("timeout")),
        ("garbage", 502, "", Some("error")),
        ("fails", 502, "", Some("error")),
        ("not-sh", 502, "can't be loaded", Some("init_failed")),
        (
            "wrong-kind",
            422,
            "needs the runtime 'cobol', which is not configured: expected one of nodejs, python3, sh",
            None,
        ),
        ("nobody-knows-it", 404, "app 'nobody-knows-it' is not known here", None),
    ];
    for (app, status, text, _) in &cases {
        let (found, _, body) = agent.invoke(app, "{}");
        let error = body["error"].as_str().unwrap_or_else(|| panic!("{app}: no error in {body}"));
        assert_eq!(found, *status, "{app}: {body}");
        assert!(error.contains(text) && !error.is_empty(), "{app}: {error}");
        good(app);
    }
    // Code that is not there, at first.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("late.sh");
    let spec = serde_json::json!({"runtime": "sh", "code": {"uri": format!("file://{}", file.display())}});
    ureq::put(format!("{}/apps/late", agent.url)).send_json(spec).unwrap();
    let (status, _, body) = agent.invoke("late", "{}");
    assert!(status == 502 && body["error"].as_str().unwrap().contains("late.sh' can't be read"), "{body}");
    std::fs::write(&file, "main() { echo '{}'; }").unwrap();
    assert_eq!(agent.invoke("late", "{}").0, 200);

    // Bodies that are none.
    for (body, status) in [("[1]", 400), ("{\"a\":", 400), (&format!("{{\"a\":\"{}\"}}", "x".repeat(2000)), 413)] {
        let (found, _, answer) = agent.invoke("good", body);
        assert_eq!(found, status, "{answer}");
        assert!(answer["error"].is_string(), "{answer}");
    }
    good("all of it");

    // Each that was tried is on the bus, with its status.
    let events = wait_for("all events", Duration::from_secs(10), || {
        let events = topic::read_json(&servers, "pilotlight.invocations");
        let published = |app: &str| events.iter().any(|event| event["app"] == app);
        cases.iter().all(|(app, .., status)| status.is_none() || published(app)).then_some(events)
    });
    for (app, .., status) in &cases {
        let found: Vec<_> = events.iter().filter(|event| event["app"] == *app).map(|event| &event["status"]).collect();
        let expected: Vec<_> = status.iter().collect();
        assert_eq!(found, expected, "{app}");
    }

    // Nothing is left of those that hung.
    let group_members = || {
        let processes = std::process::Command::new("ps").args(["-eo", "args"]).output().unwrap();
        String::from_utf8_lossy(&processes.stdout).lines().filter(|line| *line == "sleep 30.0625").count()
    };
    wait_for("no stray processes", Duration::from_secs(10), || (group_members() == 0).then_some(()));
    let (code, logs) = agent.interrupt();
    assert_eq!(code, Some(0));
    assert!(!logs.contains("panicked"), "{logs}");
}
