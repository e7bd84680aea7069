//! The apps of one partition.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use foldhash::fast::RandomState;

/// App → `T`, the shape of every table of apps: found by name, with a plain map underneath.
#[derive(Debug)]
pub struct AppTable<T> {
    apps: HashMap<Box<str>, T, RandomState>,
}

impl<T> Default for AppTable<T> {
    fn default() -> Self {
        Self { apps: HashMap::default() }
    }
}

impl<T> AppTable<T> {
    /// The entry of an app, if there is one.
    pub fn get_mut(&mut self, app: &str) -> Option<&mut T> {
        self.apps.get_mut(app)
    }

    /// The entry of an app, if there is one.
    pub fn get(&self, app: &str) -> Option<&T> {
        self.apps.get(app)
    }

    /// Makes room for so many more apps, so that they are not moved about as they are added.
    pub fn reserve(&mut self, more: usize) {
        self.apps.reserve(more);
    }

    /// Adds an app that is not there yet; leaves one that is as it was.
    pub fn insert(&mut self, app: impl Into<Box<str>>, value: T) -> &mut T {
        match self.apps.entry(app.into()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(value),
        }
    }

    /// Takes out the apps that `goes` says, in the order of their names, so that what follows from it is always the
    /// same.
    pub fn remove_where(&mut self, mut goes: impl FnMut(&T) -> bool) -> Vec<(Box<str>, T)> {
        let mut gone: Vec<_> = self.apps.extract_if(|_, value| goes(value)).collect();
        gone.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        gone
    }

    /// Number of apps.
    pub fn len(&self) -> usize {
        self.apps.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.apps.is_empty()
    }

    /// All apps, in no particular order, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut T)> {
        self.apps.iter_mut().map(|(app, value)| (&**app, value))
    }

    /// All apps, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.apps.iter().map(|(app, value)| (&**app, value))
    }
}
