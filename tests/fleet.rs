//! Instances of one group answer SQL as one: whichever is asked shows the apps of all, each once; and while one is missing
//! there is no answer that leaves its apps out, but an error that names it.
#![allow(clippy::unwrap_used, reason = "tests say what they expect")]

mod support;

use std::time::Duration;

use rustix::process::Signal;
use support::program::{Program, free_port};
use support::{kafka, topic, wait_for};

const APPS: i64 = 150;
const EVENTS: i64 = 3_000;
const START_MS: i64 = 1_700_000_000_000;

struct Instance {
    program: Program,
    address: String,
}

impl Instance {
    fn start(bootstrap: &str, address: &str, fleet: &str) -> Self {
        let fleet = format!("query.fleet={fleet}");
        let arguments = ["pipeline", "--bootstrap-servers", bootstrap, "--set", "kafka.session.timeout.ms=6000"];
        let program = Program::start_at(address, &[&arguments[..], &["--set", &fleet]].concat(), &[]);
        program.wait_ready();
        Self { program, address: address.to_owned() }
    }

    /// The status, and the rows as CSV or what went wrong.
    fn ask(&self, sql: &str) -> (u16, String) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let url = format!("http://{}/api/sql", self.address);
        let mut answer = agent.post(url).header("accept", "text/csv").content_type("text/plain").send(sql).unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    }

    fn owned(&self) -> f64 {
        self.program.metric("pilotlight_partitions")
    }
}

fn write(bootstrap: &str) {
    let writer = topic::Writer::open(bootstrap);
    for i in 0..EVENTS {
        let (app, start_ms) = (format!("app-{:03}", i % APPS), START_MS + i * 400);
        let event = serde_json::json!({
            "app": app, "function": format!("f{}", i / APPS % 3), "trigger": "queue",
            "started_at_ms": start_ms, "duration_ms": 5
        });
        writer.write("pilotlight.invocations", &app, event.to_string().as_bytes());
    }
    writer.flush();
}

const ALL: &str = "SELECT count(*) AS apps, sum(invocations) AS invocations FROM apps";

#[test]
fn whichever_is_asked_shows_the_apps_of_all() {
    let Some(broker) = kafka::Broker::start() else { return };
    let bootstrap = broker.bootstrap();
    let ports = [free_port(), free_port(), free_port()];
    let [a, b, c] = ports.map(|port| format!("127.0.0.1:{port}"));
    // One knows the others by their addresses, one by a name.
    let by_address = Instance::start(&bootstrap, &a, &format!("{a},{b}"));
    let by_name = Instance::start(&bootstrap, &b, &format!("dns:localhost:{},dns:localhost:{}", ports[0], ports[1]));
    let both_have_partitions = || {
        wait_for("both have partitions", Duration::from_secs(60), || {
            let (a, b) = (by_address.owned(), by_name.owned());
            (a > 0.0 && b > 0.0 && a + b == 8.0).then_some(())
        });
    };
    both_have_partitions();
    write(&bootstrap);
    let whole = (200, format!("apps,invocations\n{APPS},{EVENTS}\n"));
    for instance in [&by_address, &by_name] {
        wait_for("all apps", Duration::from_secs(60), || (instance.ask(ALL) == whole).then_some(()));
        let apps = instance.program.metric("pilotlight_apps");
        assert!(0.0 < apps && apps < APPS as f64, "each owns a part: {apps}");
    }

    // The same of both, also where rows are made of others, and where a statement reads several tables.
    for (question, rows) in [
        ("SELECT * FROM apps ORDER BY app", APPS),
        ("SELECT app, function, trigger, invocations, last_start FROM functions ORDER BY 1, 2", 3 * APPS),
        ("SELECT app, from_ms, count FROM idle_times ORDER BY 1, 2", APPS),
        (
            "SELECT a.app, d.policy FROM apps a JOIN decisions d ON a.app = d.app JOIN apps b ON a.app = b.app ORDER BY 1",
            APPS,
        ),
        ("SELECT kafka_partition, next_offset, apps FROM partitions ORDER BY 1", 8),
        ("SELECT app FROM apps WHERE invocations = 20 LIMIT 7", 7),
    ] {
        let answers = [by_address.ask(question), by_name.ask(question)];
        assert_eq!(answers[0].0, 200, "{question}: {}", answers[0].1);
        assert_eq!(answers[0].1.lines().count() as i64, rows + 1, "{question}: {}", answers[0].1);
        if question.contains("ORDER") {
            assert_eq!(answers[0], answers[1], "{question}");
        }
    }

    // One that hangs is named.
    by_name.program.signal(Signal::STOP);
    let (status, said) = by_address.ask(ALL);
    assert!(status == 503 && said.contains(&b) && said.contains("says nothing within"), "{status} {said}");
    by_name.program.signal(Signal::CONT);
    wait_for("it is back", Duration::from_secs(60), || (by_address.ask(ALL) == whole).then_some(()));

    // One that is gone is, until the other has taken its partitions over: then the answer is whole without it.
    both_have_partitions();
    drop(by_name);
    let (status, said) = by_address.ask(ALL);
    assert!(status == 503 && said.contains(&b) && said.contains("would not be whole"), "{status} {said}");
    wait_for("the other has taken over", Duration::from_secs(60), || (by_address.ask(ALL) == whole).then_some(()));
    assert_eq!(by_address.owned(), 8.0);

    // What is owned by one that is not asked is missing, and named.
    let unlisted = Instance::start(&bootstrap, &c, &c);
    wait_for("the new one has partitions", Duration::from_secs(60), || (unlisted.owned() > 0.0).then_some(()));
    for (instance, because) in [(&by_address, &*b), (&unlisted, "query.fleet lacks an instance")] {
        wait_for("what is missing is named", Duration::from_secs(60), || {
            let (status, said) = instance.ask(ALL);
            let is_named = said.contains("no instance shows partition") && said.contains("of pilotlight.invocations");
            (status == 503 && is_named && said.contains(because)).then_some(())
        });
    }
}
