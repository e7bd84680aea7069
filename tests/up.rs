//! `up` is the whole loop in one process, and tells the truth about it.

mod support;

use std::time::Duration;

use support::program::{Program, free_port, run};
use support::wait_for;

/// Each of these needs the machine for itself.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[test]
fn fewer_than_half_the_cold_starts_of_a_fixed_keep_alive() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let listen = format!("127.0.0.1:{}", free_port());
    let output = run(&["up", "--for", "30s", "--seed", "11", "--format", "json", "--listen", &listen]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let last: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    let figure =
        |policy: &str, name: &str| last[policy][name].as_f64().unwrap_or_else(|| panic!("{policy}.{name} in {last}"));
    for policy in ["pilotlight", "fixed_10m"] {
        let (all, parts) =
            (figure(policy, "invocations"), ["cold", "prewarmed", "warm"].map(|name| figure(policy, name)));
        assert_eq!(all, parts.iter().sum::<f64>(), "{last}");
        assert!(all > 500.0 && figure(policy, "idle_mb_s") > 0.0, "{last}");
    }
    assert_eq!(figure("pilotlight", "invocations"), figure("fixed_10m", "invocations"));
    assert!(figure("pilotlight", "cold") * 2.0 <= figure("fixed_10m", "cold"), "{last}");
    assert_eq!(figure("pilotlight", "failed"), 0.0, "{last}");
}

#[test]
fn it_answers_over_http_and_ends_cleanly_on_ctrl_c() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let up = Program::start_ready(&["up"]);
    wait_for("invocations", Duration::from_secs(20), || {
        let text = up.get("/metrics");
        (text.contains("pilotlight_invocations_total{kind=\"warm\"}") && text.ends_with("# EOF\n")).then_some(())
    });
    assert_eq!(up.status("/livez"), Some(200));
    let page = up.get("/");
    assert!(page.contains("<td>Pilotlight</td>") && page.contains("<td>10-minute keep-alive</td>"), "{page}");
    wait_for("apps kept warm", Duration::from_secs(20), || {
        (up.get_json("/warm").as_array().unwrap().len() > 10).then_some(())
    });
    let (code, logs) = up.interrupt();
    assert_eq!(code, Some(0), "{logs}");
    assert!(logs.contains("memory-only") && logs.contains("10-minute keep-alive"), "{logs}");
    assert!(!logs.contains("panicked"), "{logs}");
}

#[test]
fn a_trace_can_be_played_instead() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let Some(trace) = support::trace("azure2021-head998") else { return };
    let listen = format!("127.0.0.1:{}", free_port());
    let trace = trace.to_str().unwrap();
    let output = run(&["up", "--for", "10s", "--trace", trace, "--format", "json", "--listen", &listen]);
    let said = String::from_utf8(output.stdout).unwrap();
    let last: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert!(last["pilotlight"]["invocations"].as_f64().unwrap() > 100.0, "{last}");
}
