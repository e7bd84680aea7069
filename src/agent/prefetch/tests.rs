//! The store as a whole, on files; `tests/code_fetching.rs` has servers.

use super::*;
use crate::config::Settings;
use crate::telemetry::Metrics;

struct Store {
    folder: tempfile::TempDir,
    store: CodeStore,
}

fn store() -> Store {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::load(Some("/dev/null".as_ref()), &[]).unwrap();
    let metrics = CodeMetrics::register(&Metrics::default());
    let store = CodeStore::open(&folder.path().join("code"), &settings.agent, metrics).unwrap();
    Store { folder, store }
}

impl Store {
    fn file(&self, name: &str, text: &str) -> Code {
        let file = self.folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        Code { uri: format!("file://{}", file.display()), sha256: Some(sha256_hex(text.as_bytes()).to_uppercase()) }
    }

    async fn load(&self, code: &Code) -> Result<Bytes, Error> {
        match self.store.bring(code).await? {
            Some(bytes) => Ok(bytes),
            None => self.store.get(code).await,
        }
    }

    fn lose(&self, name: &str) {
        std::fs::remove_file(self.folder.path().join(name)).unwrap();
    }
}

#[tokio::test]
async fn code_with_a_digest_is_fetched_once_and_healed() {
    let here = store();
    let code = here.file("f.py", "one");
    assert_eq!(here.load(&code).await.unwrap(), "one");
    here.lose("f.py");
    assert_eq!(here.load(&code).await.unwrap(), "one");
    std::fs::write(here.folder.path().join("code").join(sha256_hex(b"one")), "damaged").unwrap();
    assert!(matches!(here.load(&code).await, Err(Error::Unreadable { .. })));
    here.file("f.py", "one");
    assert_eq!(here.load(&code).await.unwrap(), "one");
    here.file("f.py", "two");
    let other = Code { sha256: Some(sha256_hex(b"three")), ..code };
    assert!(matches!(here.load(&other).await, Err(Error::Digest { .. })));
    let view = here.store.view();
    assert_eq!((view.hits, view.misses, view.fetched, view.damaged, view.files), (1, 4, 2, 1, 1));
}

#[tokio::test]
async fn code_without_a_digest_follows_its_file() {
    let here = store();
    for text in ["one", "two"] {
        let code = Code { sha256: None, ..here.file("f.py", text) };
        assert_eq!(here.load(&code).await.unwrap(), text);
    }
    assert_eq!(here.store.view().files, 0);
}

#[tokio::test]
async fn a_digest_that_is_a_path_reads_no_file() {
    let here = store();
    let code = Code { sha256: Some("../../../etc/passwd".to_owned()), ..here.file("f.py", "x") };
    assert!(matches!(here.load(&code).await, Err(Error::Digest { .. })));
}

#[tokio::test]
async fn what_is_wanted_is_there_and_what_fails_is_told() {
    let here = store();
    let codes: HashMap<String, Code> =
        (0..20).map(|i| (format!("app-{i}"), here.file(&format!("{i}"), &i.to_string()))).collect();
    here.lose("7");
    codes.keys().for_each(|app| here.store.want(app, Need::SOME_DAY));
    here.store.want("nobody-knows-it", Need::at(0, 1.0));
    let looked = async {
        while here.store.view().files < 19 || here.store.view().failing.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = here.store.run(crate::model::now_ms, |app| codes.get(app).cloned()) => {}
        looked = tokio::time::timeout(Duration::from_secs(60), looked) => looked.unwrap(),
    }
    let view = here.store.view();
    assert_eq!((view.files, view.failing.len()), (19, 1), "{view:?}");
    assert!(view.failing["app-7"].error.contains("No such file"), "{view:?}");
}

#[test]
fn what_may_carry_a_secret_is_not_public() {
    for (uri, public) in [
        ("file:///srv/a@b?.py", true),
        ("https://host/a.py", true),
        ("s3://bucket/a.py", true),
        ("https://host/a.py?X-Amz-Signature=1", false),
        ("https://u:p@host/a.py", false),
        ("data:,x", false),
    ] {
        assert_eq!(is_public(uri), public, "{uri}");
    }
}
