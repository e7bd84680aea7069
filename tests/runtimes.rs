//! The bundled runtimes really execute functions, and survive what functions do.
#![allow(clippy::unwrap_used, reason = "tests say what they expect")]

mod support;

use support::program::Program;

fn agent(bus: &str) -> Program {
    Program::start_ready(&["agent", "--bootstrap-servers", bus, "--set", "topics.create=false"])
}

fn bus() -> (pilotlight::bus::Embedded, String) {
    let mut settings = pilotlight::config::Settings::load(Some("/dev/null".as_ref()), &[]).unwrap();
    let bus = pilotlight::bus::Embedded::start(&mut settings).unwrap();
    let servers = bus.bootstrap_servers();
    (bus, servers)
}

/// Whether a runtime's program is here; where nothing may be skipped, it has to be.
fn is_here(program: &str) -> bool {
    let found = std::process::Command::new(program).arg("--version").output().is_ok();
    assert!(found || std::env::var_os("PILOTLIGHT_TEST_NOTHING_SKIPPED").is_none(), "{program} is missing");
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}

#[test]
fn examples_run_on_each_runtime() {
    let (_bus, servers) = bus();
    let agent = agent(&servers);
    for (runtime, program, hello) in [
        ("sh", "true", include_str!("../runtimes/examples/hello.sh")),
        ("python3", "python3", include_str!("../runtimes/examples/hello.py")),
        ("nodejs", "node", include_str!("../runtimes/examples/hello.js")),
    ] {
        if !is_here(program) {
            continue;
        }
        agent.register(runtime, runtime, hello);
        let (status, start, body) = agent.invoke(runtime, r#"{"name": "Zoë"}"#);
        assert_eq!((status, &body), (200, &serde_json::json!({"hello": "Zoë"})), "{runtime}");
        assert_ne!(start.as_deref(), Some("warm"), "{runtime}: the first");
        for _ in 0..20 {
            let (status, start, body) = agent.invoke(runtime, "");
            assert_eq!((status, start.as_deref()), (200, Some("warm")), "{runtime}");
            assert_eq!(body, serde_json::json!({"hello": "world"}), "{runtime}");
        }
    }
}

#[test]
fn what_functions_do_wrong_stays_theirs() {
    let (_bus, servers) = bus();
    let agent = agent(&servers);
    if is_here("python3") {
        let code = "import os, sys\n\
            def main(args):\n    print('noise'); print('noise', file=sys.stderr)\n    return {'ok': True}\n\
            def raises(args): raise ValueError('boom')\n\
            def exits(args): sys.exit(3)\n\
            def nothing(args): return 7\n\
            def dies(args): os._exit(9)\n\
            def environment(args): return dict(os.environ)\n\
            def allocates(args): return {'bytes': len(b'x' * (1 << 30))}\n\
            def opens(args): return {'files': len([open('/dev/null') for _ in range(2000)])}\n";
        agent.register("py", "python3", code);
        let call = |function: &str| {
            let url = format!("{}/apps/py/functions/{function}", agent.url);
            let mut response =
                ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build())
                    .post(url)
                    .send("{}")
                    .unwrap();
            (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
        };
        assert_eq!(call("main"), (200, "{\"ok\": true}".to_owned()));
        for (function, text) in [
            ("raises", "boom"),
            ("exits", "error"),
            ("nothing", "error"),
            ("dies", "went away"),
            // 1 GB, where 64 MB are declared.
            ("allocates", "MemoryError"),
            ("opens", "Too many open files"),
        ] {
            let (status, body) = call(function);
            assert!(status == 502 && body.contains(text), "{function}: {status} {body}");
            assert_eq!(call("main").0, 200, "after {function}");
        }
        let (_, environment) = call("environment");
        assert!(!environment.contains("CARGO"), "nothing of the agent's environment gets through: {environment}");
    }
}
