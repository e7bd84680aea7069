//! The functions and apps of a trace, in the order in which they were first seen.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::model::Trigger;
use crate::simulate::Function;

/// The functions of an app.
#[derive(Debug, Clone, PartialEq)]
pub struct AppFunctions {
    /// The app's name.
    pub app: Arc<str>,
    /// Indexes of its functions, ascending.
    pub functions: Vec<u32>,
    /// Memory of the app, MB, where known.
    pub memory_mb: Option<f64>,
}

/// Finds functions by their names. Two apps may have functions of one name.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    functions: Vec<Function>,
    apps: Vec<AppFunctions>,
    places: HashMap<Arc<str>, usize, RandomState>,
    /// By app: its functions.
    names: Vec<HashMap<Arc<str>, u32, RandomState>>,
}

impl Catalog {
    /// The function, if it is known.
    pub fn find(&self, app: &str, name: &str) -> Option<u32> {
        self.names.get(*self.places.get(app)?)?.get(name).copied()
    }

    /// The function; one that is not known yet is added.
    pub fn find_or_add(&mut self, app: &str, name: &str, trigger: impl FnOnce() -> Option<Trigger>) -> u32 {
        if let Some(function) = self.find(app, name) {
            return function;
        }
        let place = self.place(app);
        let function = self.functions.len() as u32;
        let name: Arc<str> = Arc::from(name);
        self.names[place].insert(Arc::clone(&name), function);
        let app = &mut self.apps[place];
        app.functions.push(function);
        self.functions.push(Function { app: Arc::clone(&app.app), name, trigger: trigger(), memory_mb: None });
        function
    }

    /// Sets the memory of an app, if it is known.
    pub fn set_memory_mb(&mut self, app: &str, memory_mb: f64) {
        if let Some(app) = self.places.get(app).and_then(|place| self.apps.get_mut(*place)) {
            app.memory_mb = Some(memory_mb);
            for function in &app.functions {
                self.functions[*function as usize].memory_mb = Some(memory_mb);
            }
        }
    }

    /// The functions, and the apps.
    pub fn into_parts(self) -> (Vec<Function>, Vec<AppFunctions>) {
        (self.functions, self.apps)
    }

    fn place(&mut self, app: &str) -> usize {
        if let Some(place) = self.places.get(app) {
            return *place;
        }
        let place = self.apps.len();
        let app: Arc<str> = Arc::from(app);
        self.places.insert(Arc::clone(&app), place);
        self.apps.push(AppFunctions { app, functions: Vec::new(), memory_mb: None });
        self.names.push(HashMap::default());
        place
    }
}

/// The apps of `functions`; an app's memory is that of its first function which tells it.
pub(super) fn group(functions: &[Function]) -> Vec<AppFunctions> {
    let mut apps: Vec<AppFunctions> = Vec::new();
    let mut places: HashMap<&str, usize, RandomState> = HashMap::default();
    for (index, function) in functions.iter().enumerate() {
        let place = *places.entry(&function.app).or_insert(apps.len());
        if place == apps.len() {
            apps.push(AppFunctions { app: Arc::clone(&function.app), functions: Vec::new(), memory_mb: None });
        }
        apps[place].functions.push(index as u32);
        apps[place].memory_mb = apps[place].memory_mb.or(function.memory_mb);
    }
    apps
}
