//! The main job against a real broker: events of a trace in, a decision for each of its apps out.

mod support;

use std::time::Duration;

use support::program::{Program, run};
use support::{kafka, schema, topic, trace, wait_for};

#[test]
fn a_trace_in_a_decision_for_each_app_out() {
    let Some(broker) = kafka::Broker::start() else { return };
    let Some(trace) = trace("azure2021-head998") else { return };
    let bootstrap = broker.bootstrap();
    let servers = ["--bootstrap-servers", &bootstrap];
    let pipeline = Program::start_ready(&[&["pipeline", "--speed", "600"], &servers[..]].concat());
    let agent = Program::start_ready(&[&["agent", "--speed", "600"], &servers[..]].concat());

    let replay = ["replay", trace.to_str().unwrap(), "--speed", "600"];
    let replay = run(&[&replay[..], &servers[..]].concat());
    let said = String::from_utf8(replay.stdout).unwrap();
    assert!(replay.status.success(), "{said}{}", String::from_utf8_lossy(&replay.stderr));
    assert_eq!(said, "998 of 998 invocations published to pilotlight.invocations\n");
    wait_for("all events read", Duration::from_secs(30), || {
        (pipeline.metric("pilotlight_events_total") == 998.0).then_some(())
    });
    let decided = pipeline.metric("pilotlight_decisions_total");
    // Delivered, not only handed over.
    let decisions = wait_for("all decisions on the topic", Duration::from_secs(30), || {
        let decisions = topic::read_json(&bootstrap, "pilotlight.decisions");
        (decisions.len() as f64 == decided).then_some(decisions)
    });

    let valid = schema("decision.v1.json");
    for decision in &decisions {
        let errors: Vec<_> = valid.iter_errors(decision).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?} in {decision}");
    }
    let apps: std::collections::BTreeSet<_> = decisions.iter().map(|decision| decision["app"].as_str()).collect();
    assert_eq!(apps.len(), 21);
    assert_eq!(topic::compacted(&bootstrap, "pilotlight.decisions").len(), 21);
    assert!(decisions.len() < 998, "never once per invocation: {}", decisions.len());

    let valid = schema("invocation.v1.json");
    for event in topic::read_json(&bootstrap, "pilotlight.invocations") {
        assert!(valid.is_valid(&event), "{event}");
    }
    let configs =
        broker.tool(&["org.apache.kafka.tools.TopicCommand", "--describe", "--topic", "pilotlight.decisions"]);
    assert!(configs.contains("cleanup.policy=compact"), "{configs}");

    // The agent has taken them over, and both end cleanly.
    wait_for("the agent has the decisions", Duration::from_secs(10), || {
        (agent.get_json("/warm").as_array().unwrap().len() == 21).then_some(())
    });
    assert_eq!(pipeline.interrupt().0, Some(0));
    assert_eq!(agent.interrupt().0, Some(0));
}
