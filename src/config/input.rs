//! `[input]`

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::topics::ensure_name;
use super::{Error, Millis, ensure, nearest};
use crate::ingest::Format;
use crate::ingest::format::Mapping;

/// Where events come from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Topics with invocation events: `TOPIC`, or `TOPIC:FORMAT` where its format is another than the rest's.
    pub topics: Vec<String>,
    /// Whether they are keyed by app; if not, they are keyed first, on `topics.invocations`.
    pub keyed_by_app: bool,
    /// Name of the format of all topics that name none.
    pub format: String,
    /// Consumer group.
    pub group: String,
    /// Larger events are dead letters, bytes.
    pub max_event_bytes: usize,
    /// How far after its record's time an event may end.
    pub max_future: Millis,
    /// How long before its record's time an event may end; 0: as long as it likes.
    pub max_past: Millis,
    /// For how much event time an event within a burst of its app waits for earlier ones; 0: none does.
    pub reorder: Millis,
    /// For how much event time an event is known again by its id; 0: none is.
    pub duplicates: Millis,
    /// URL of the schema registry for Avro; empty for none.
    pub schema_registry: String,
    /// How the format `mapping` reads events.
    pub mapping: Arc<Mapping>,
    /// How the formats `mapping.NAME` read them, by name.
    pub mappings: BTreeMap<String, Arc<Mapping>>,
}

/// A topic to read, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// The topic.
    pub topic: String,
    /// The format of its events.
    pub format: Format,
}

impl Input {
    /// The topics, each with its format.
    pub fn sources(&self) -> Result<Vec<Source>, Error> {
        let source = |text: &String| match text.split_once(':') {
            // No topic's name has a colon: Kafka refuses it.
            Some((topic, format)) => {
                Ok(Source { topic: topic.to_owned(), format: self.named("input.topics", text, format)? })
            }
            None => Ok(Source { topic: text.clone(), format: self.default_format()? }),
        };
        self.topics.iter().map(source).collect()
    }

    /// The format of that name; the settings of `mapping` are checked where it is the one.
    pub fn format(&self, name: &str) -> Result<Format, Error> {
        self.named("input.format", name, name)
    }

    fn default_format(&self) -> Result<Format, Error> {
        self.format(&self.format)
    }

    fn named(&self, key: &str, found: &str, name: &str) -> Result<Format, Error> {
        let wrong = |expected: String| Error::BadValue { key: key.to_owned(), found: format!("'{found}'"), expected };
        let meant = |near: Option<&str>| near.map_or_else(String::new, |near| format!("; did you mean '{near}'?"));
        let (section, name, mapping) = match name.split_once('.') {
            Some(("mapping", which)) => {
                let section = format!("input.mappings.{which}");
                let mapping = self.mappings.get(which).ok_or_else(|| {
                    let near = meant(nearest(which, self.mappings.keys().map(String::as_str)));
                    wrong(format!("the name of a mapping that has a section [{section}]{near}"))
                })?;
                (section, "mapping", mapping)
            }
            _ => ("input.mapping".to_owned(), name, &self.mapping),
        };
        let format = Format::from_name(name, mapping).ok_or_else(|| {
            let near = meant(nearest(name, Format::NAMES.into_iter()));
            wrong(format!("a format, one of {}{near}", Format::NAMES.join(", ")))
        })?;
        if let Format::Mapping(mapping) = &format {
            mapping.check().map_err(|(field, found, expected)| Error::BadValue {
                key: format!("{section}.{field}"),
                found,
                expected: expected.to_owned(),
            })?;
        }
        Ok(format)
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        ensure(!self.topics.is_empty(), "input.topics", "empty", "at least one topic")?;
        let sources = self.sources()?;
        for (i, source) in sources.iter().enumerate() {
            ensure_name("input.topics", &source.topic)?;
            let again = sources[..i].iter().any(|before| before.topic == source.topic);
            ensure(!again, "input.topics", format!("'{}' twice", source.topic), "each topic once")?;
        }
        let registry = &self.schema_registry;
        if !registry.is_empty() {
            let holds = registry.starts_with("http://");
            ensure(holds, "input.schema_registry", format!("'{registry}'"), "a URL such as http://registry:8081")?;
            let expected = "a pilotlight that reads Avro: build it with --features avro";
            ensure(cfg!(feature = "avro"), "input.schema_registry", format!("'{registry}'"), expected)?;
        }
        ensure(!self.group.is_empty(), "input.group", "empty", "the name of a consumer group")
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Settings;
    use crate::ingest::Format;

    fn load(flags: &[(&str, &str)]) -> Result<Settings, String> {
        let flags: Vec<_> = flags.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        Settings::load(Some("/dev/null".as_ref()), &flags).map_err(|error| error.to_string())
    }

    const MAPPED: [(&str, &str); 4] = [
        ("input.topics", "a, b:openwhisk, c:mapping"),
        ("input.mapping.app", "/app"),
        ("input.mapping.duration", "{ at = '/took', unit = 's' }"),
        ("input.mapping.started_at", "/t"),
    ];

    #[test]
    fn each_topic_has_its_format_or_that_of_all() {
        let settings = load(&[&MAPPED[..], &[("input.format", "aws")]].concat()).unwrap();
        let sources = settings.input.sources().unwrap();
        let found: Vec<_> = sources.iter().map(|source| (source.topic.as_str(), source.format.name())).collect();
        assert_eq!(found, [("a", "aws"), ("b", "openwhisk"), ("c", "mapping")]);
        assert_eq!(sources[2].format, Format::Mapping(settings.input.mapping.clone()));
    }

    #[test]
    fn topics_may_have_mappings_of_their_own() {
        let own = [
            ("input.topics", "c:mapping, d:mapping.shop"),
            ("input.mappings.shop.app", "/name"),
            ("input.mappings.shop.duration", "/ms"),
            ("input.mappings.shop.ended_at", "{ at = '/t', unit = 's' }"),
        ];
        let input = load(&[&MAPPED[1..], &own].concat()).unwrap().input;
        let formats: Vec<_> = input.sources().unwrap().into_iter().map(|source| source.format).collect();
        assert_eq!(formats, [&input.mapping, &input.mappings["shop"]].map(|mapping| Format::Mapping(mapping.clone())));
        assert_ne!(formats[0], formats[1]);
        assert_eq!(input.format("mapping.shop").unwrap(), formats[1]);

        let named = |name| input.format(name).unwrap_err().to_string();
        let said = named("mapping.shp");
        assert!(
            said.ends_with(
                "expected the name of a mapping that has a section [input.mappings.shp]; did you mean 'shop'?"
            )
        );
        let error = load(&[&MAPPED[1..], &own[..3]].concat()).unwrap_err();
        assert!(error.starts_with("setting 'input.mappings.shop.started_at' is empty: expected"), "{error}");
        let error = load(&[&MAPPED[1..], &own, &[("input.mappings.shop.ap", "/a")]].concat()).unwrap_err();
        assert!(error.contains("unknown field `ap`"), "{error}");
    }

    #[test]
    fn the_wait_for_earlier_events_shrinks_with_the_workload() {
        assert_eq!(load(&[]).unwrap().sped_up(240.0).input.reorder.0, 8);
    }

    #[test]
    fn the_topic_of_keyed_events_is_not_keyed_again() {
        let not_keyed = ("input.keyed_by_app", "false");
        let error = load(&[not_keyed]).unwrap_err();
        assert!(error.contains("'pilotlight.invocations': expected topics that are not topics.invocations"), "{error}");
        assert!(load(&[not_keyed, ("input.topics", "events")]).is_ok());
    }

    #[test]
    fn errors_name_the_setting_and_the_nearest_format() {
        for (key, value, message) in [
            ("input.format", "cloudevent", "setting 'input.format' is 'cloudevent': expected a format, one of native,"),
            ("input.topics", "a:awz", "did you mean 'aws'?"),
            ("input.topics", "a b", "setting 'input.topics' is 'a b': expected 1 to 249 letters"),
            ("input.mapping.ended_at", "/t", "setting 'input.mapping.started_at' is given with ended_at: expected one"),
            ("input.mapping.memory", "{ at = '/m', unit = 's' }", "setting 'input.mapping.memory' is in the unit s"),
            ("input.mapping.trigger", "{ at = ", "expected a string or an inline table of TOML"),
        ] {
            let error = load(&[&MAPPED[..], &[(key, value)]].concat()).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}
