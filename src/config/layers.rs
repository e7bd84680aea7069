//! Lays the layers of settings over each other, and names the nearest key where one does not exist.

use std::path::Path;

use toml::{Table, Value};

use super::kafka::is_secret;
use super::{Error, Settings};

/// `config/default.toml`, as built in.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");

const FILE: &str = "pilotlight.toml";
const PREFIX: &str = "PILOTLIGHT__";

/// Sections whose keys are the user's or librdkafka's.
const FREE: [&str; 4] = ["kafka", "agent.runtimes", "agent.tokens", "input.mappings"];

pub(super) fn merge(
    file: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
    flags: &[(&str, String)],
) -> Result<Settings, Error> {
    let defaults: Table = toml::from_str(DEFAULTS).map_err(|error| Error::NotToml {
        path: "config/default.toml".to_owned(),
        message: error.message().to_owned(),
    })?;
    let mut settings = defaults.clone();
    if let Some((table, origin)) = read(file)? {
        known("", &table, &defaults, &origin)?;
        lay_over(&mut settings, table);
    }
    let mut variables: Vec<_> = environment.filter(|(name, _)| name.starts_with(PREFIX)).collect();
    variables.sort();
    for (name, text) in variables {
        let path = name[PREFIX.len()..].to_ascii_lowercase().replace("__", ".");
        // librdkafka's names have dots, which variables can't.
        let path = match path.strip_prefix("kafka.") {
            Some(option) => format!("kafka.{}", option.replace('_', ".")),
            None => path,
        };
        set(&mut settings, &defaults, &path, &text, &format!("the environment ({name})"))?;
    }
    for (path, text) in flags {
        set(&mut settings, &defaults, path, text, "the flags")?;
    }
    serde_path::from(settings)
}

fn read(file: Option<&Path>) -> Result<Option<(Table, String)>, Error> {
    let path = file.unwrap_or(Path::new(FILE));
    let shown = path.display().to_string();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(source) => return Err(Error::Unreadable { path: shown, source }),
    };
    let table = toml::from_str(&text).map_err(|error: toml::de::Error| Error::NotToml {
        path: shown.clone(),
        message: format!("{}{}", place(&text, &error), error.message().replace('\n', "; ")),
    })?;
    Ok(Some((table, format!("'{shown}'"))))
}

/// Where the error is, without the line itself: it may hold a password.
fn place(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    before.map_or(String::new(), |before| {
        let column = before.chars().rev().take_while(|char| *char != '\n').count() + 1;
        format!("line {}, column {column}: ", before.matches('\n').count() + 1)
    })
}

/// Checks that every key of `table` is one of `defaults`.
fn known(section: &str, table: &Table, defaults: &Table, origin: &str) -> Result<(), Error> {
    for (name, value) in table {
        let key = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
        let Some(default) = defaults.get(name) else {
            return Err(unknown_key(key, origin));
        };
        if let (Value::Table(table), Value::Table(defaults)) = (value, default)
            && !FREE.contains(&key.as_str())
        {
            known(&key, table, defaults, origin)?;
        }
    }
    Ok(())
}

fn lay_over(under: &mut Table, over: Table) {
    for (name, value) in over {
        match (under.get_mut(&name), value) {
            (Some(Value::Table(under)), Value::Table(over)) => lay_over(under, over),
            (_, value) => drop(under.insert(name, value)),
        }
    }
}

/// Sets one key from text, read as the type that the default has.
fn set(settings: &mut Table, defaults: &Table, path: &str, text: &str, origin: &str) -> Result<(), Error> {
    let default = find(defaults, path);
    let free = FREE.iter().any(|section| path.starts_with(&format!("{section}.")));
    if default.is_none() && !free {
        return Err(unknown_key(path.to_owned(), origin));
    }
    let bad = |expected: &str| Error::BadValue {
        key: path.to_owned(),
        found: if is_secret(path) { format!("hidden, in {origin}") } else { format!("'{text}' in {origin}") },
        expected: expected.to_owned(),
    };
    let value = match default {
        Some(Value::Integer(_)) => Value::Integer(text.parse().map_err(|_| bad("a whole number"))?),
        Some(Value::Float(_)) => Value::Float(text.parse().map_err(|_| bad("a number"))?),
        Some(Value::Boolean(_)) => Value::Boolean(text.parse().map_err(|_| bad("true or false"))?),
        Some(Value::Array(_)) => {
            Value::Array(text.split(',').map(|item| Value::String(item.trim().to_owned())).collect())
        }
        Some(Value::Table(_)) => return Err(bad("one of the keys in this section")),
        // A rule of a mapping may be a table: { at = "/took", unit = "s" }.
        Some(Value::String(_)) | None if is_rule(path) && text.trim_start().starts_with('{') => {
            inline(text).ok_or_else(|| bad("a string or an inline table of TOML"))?
        }
        // A new runtime kind: numbers are numbers.
        None if path.starts_with("agent.runtimes.") => inline(text).unwrap_or_else(|| Value::String(text.to_owned())),
        _ => Value::String(text.to_owned()),
    };
    let mut table = settings;
    let (sections, name) = path.rsplit_once('.').unwrap_or(("", path));
    for section in sections.split('.').filter(|section| !section.is_empty()) {
        let inner = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
        if name == "file" && free && !inner.is_table() {
            // An option of Kafka whose value is in a file now, and was written out in a layer below.
            *inner = Value::Table(Table::new());
        }
        let Value::Table(inner) = inner else { return Err(bad("one value, not a section")) };
        table = inner;
    }
    table.insert(name.to_owned(), value);
    Ok(())
}

/// Whether it is how a mapping finds a field.
fn is_rule(path: &str) -> bool {
    ["input.mapping.", "input.mappings."].iter().any(|section| path.starts_with(section))
}

/// Text as a value of TOML, if it is one.
fn inline(text: &str) -> Option<Value> {
    toml::from_str::<Table>(&format!("v = {text}")).ok()?.remove("v")
}

fn find<'a>(table: &'a Table, path: &str) -> Option<&'a Value> {
    let mut names = path.split('.');
    let mut value = table.get(names.next()?)?;
    for name in names {
        value = value.as_table()?.get(name)?;
    }
    Some(value)
}

fn unknown_key(key: String, origin: &str) -> Error {
    let keys = all_keys();
    let hint = nearest(&key, keys.iter().map(String::as_str));
    let hint = hint.map_or_else(|| "; see config/default.toml".to_owned(), |near| format!("; did you mean '{near}'?"));
    Error::UnknownKey { key, origin: origin.to_owned(), hint }
}

fn all_keys() -> Vec<String> {
    fn walk(section: &str, table: &Table, keys: &mut Vec<String>) {
        for (name, value) in table {
            let key = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
            if let Value::Table(inner) = value {
                walk(&key, inner, keys);
            }
            keys.push(key);
        }
    }
    let mut keys = Vec::new();
    walk("", &toml::from_str(DEFAULTS).unwrap_or_default(), &mut keys);
    keys
}

/// The one of `known` that is most like `found`, if any is much like it.
pub fn nearest<'a>(found: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A right name in the wrong section is as good as found.
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    known
        .map(|key| {
            let whole = strsim::jaro_winkler(found, key);
            let name = 0.95 * strsim::jaro_winkler(&last(found), &last(key));
            (whole.max(name), key)
        })
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, key)| key)
}

/// From the merged table to the typed settings, with the key in the error.
mod serde_path {
    use super::{Error, Settings, Table};

    pub(super) fn from(table: Table) -> Result<Settings, Error> {
        // Through text, so that the error can say which line, and with it which key, is meant.
        let text = toml::to_string(&table).unwrap_or_default();
        toml::from_str(&text).map_err(|error| {
            let (key, found) = error.span().map_or_else(Default::default, |span| locate(&text, span.start));
            Error::BadValue { key, found, expected: error.message().replace('\n', "; ") }
        })
    }

    /// The dotted key and the value that stand at a place in `text`.
    fn locate(text: &str, at: usize) -> (String, String) {
        let mut section = "";
        let mut offset = 0;
        for line in text.lines() {
            let end = offset + line.len();
            if line.starts_with('[') {
                section = line.trim_matches(['[', ']']);
            }
            if at <= end {
                let (name, value) = line.split_once(" = ").unwrap_or((line, ""));
                let key = if line.starts_with('[') { section.to_owned() } else { format!("{section}.{name}") };
                return (key, value.to_owned());
            }
            offset = end + 1;
        }
        Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Settings, String> {
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&path, file).unwrap();
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let flags: Vec<_> = flags.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        let settings = merge(Some(path.path()), environment, &flags).and_then(|settings| settings.complete());
        settings.map_err(|error| error.to_string().replace(&path.path().display().to_string(), "FILE"))
    }

    #[test]
    fn later_layers_win() {
        let settings = load(
            "[input]\ngroup = 'file'\nmax_event_bytes = 1\n[kafka]\nlinger.ms = 7",
            &[("PILOTLIGHT__INPUT__GROUP", "variable"), ("PILOTLIGHT__INPUT__TOPICS", "a, b"), ("HOME", "x")],
            &[("input.topics", "c"), ("kafka.bootstrap.servers", "k:1")],
        )
        .unwrap();
        assert_eq!(settings.input.group, "variable");
        assert_eq!(settings.input.max_event_bytes, 1);
        assert_eq!(settings.input.topics, ["c"]);
        assert_eq!(settings.kafka.get("linger.ms"), Some("7"));
        assert_eq!(settings.kafka.bootstrap_servers(), "k:1");
        assert_eq!(settings.topics.decisions, "pilotlight.decisions");
    }

    #[test]
    fn variables_reach_librdkafka_too() {
        let settings = load("", &[("PILOTLIGHT__KAFKA__SECURITY_PROTOCOL", "SSL")], &[]).unwrap();
        assert_eq!(settings.kafka.get("security.protocol"), Some("SSL"));
    }

    #[test]
    fn secrets_come_from_any_layer_and_appear_in_no_error() {
        let secret = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(secret.path(), "from the file\n").unwrap();
        let path = secret.path().to_str().unwrap();
        let in_file = format!("[kafka]\nsasl.password = {{ file = '{path}' }}");
        let password = |settings: Settings| settings.kafka.get("sasl.password").unwrap().to_owned();
        assert_eq!(password(load(&in_file, &[], &[]).unwrap()), "from the file");
        for variable in ["PILOTLIGHT__KAFKA__SASL_PASSWORD", "PILOTLIGHT__KAFKA__SASL__PASSWORD"] {
            assert_eq!(password(load(&in_file, &[(variable, "hush")], &[]).unwrap()), "hush");
        }
        let variable = ("PILOTLIGHT__KAFKA__SASL_PASSWORD_FILE", path);
        assert_eq!(password(load("[kafka]\nsasl.password = 'hush'", &[variable], &[]).unwrap()), "from the file");

        let hush = [("PILOTLIGHT__KAFKA__SASL_PASSWORD", "hush")];
        for (file, environment) in [
            ("[kafka]\nsasl.password = hush", &[][..]),
            ("[kafka]\nsasl.password = 'hush", &[]),
            ("[kafka]\nsasl.password = 'hush'\nsasl.password = 'hush'", &[]),
            ("[kafka]\nsasl = 'x'", &hush),
            ("[kafka]\nsasl.password = 'hush'\n[input]\nmax_event_bytes = 'x'", &[]),
            ("[kafka]\nsasl.password = 'hush'\nsasl.username.file = '/nowhere'", &[]),
        ] {
            let error = load(file, environment, &[]).unwrap_err();
            assert!(!error.contains("hush"), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn errors_name_the_key_and_the_nearest_one() {
        let table: [(&str, &str); 8] = [
            ("[input]\ngruop = 'x'", "unknown setting 'input.gruop' in 'FILE'; did you mean 'input.group'?"),
            (
                "[agent]\ntolerance = 1",
                "unknown setting 'agent.tolerance' in 'FILE'; did you mean 'publish.tolerance'?",
            ),
            ("zzz = 1", "unknown setting 'zzz' in 'FILE'; see config/default.toml"),
            ("[input]\nmax_event_bytes = 'x'", "setting 'input.max_event_bytes' is \"x\": expected"),
            ("[publish]\nvalid_for = 'soon'", "setting 'publish.valid_for' is \"soon\": expected"),
            ("[publish]\ntolerance = 500.0", "setting 'publish.tolerance' is 500: expected 0 to 100 percent"),
            ("[policy]\nname = 'hibrid'", "setting 'policy.name': unknown policy 'hibrid'"),
            ("[input", "configuration file 'FILE' is not valid TOML"),
        ];
        for (file, message) in table {
            let error = load(file, &[], &[]).unwrap_err();
            assert!(error.starts_with(message), "{error}");
        }
        let error = load("", &[("PILOTLIGHT__INPUT__GRUOP", "x")], &[]).unwrap_err();
        assert!(error.contains("did you mean 'input.group'?"), "{error}");
    }

    #[test]
    fn runtime_kinds_are_the_users_own() {
        let file = "[agent.runtimes.ruby]\ncommand = ['ruby', 'shim.rb']\npool = 0\nmemory_mb = 40.0";
        let settings = load(file, &[("PILOTLIGHT__AGENT__RUNTIMES__RUBY__POOL", "3")], &[]).unwrap();
        assert_eq!(settings.agent.runtimes["ruby"].pool, 3);
        assert_eq!(settings.agent.runtimes["sh"].pool, 2);
    }
}
